import type { V1ConfigMap, V1Job, V1Namespace, V1Node, V1Pod, V1Service } from '@kubernetes/client-node';
import { FINALIZER } from '../../../src/controller/identity.ts';
import type { RuntimeProfile, WorldRun } from '../../../src/controller/run/view.ts';
import { INITIAL_STATUS, worldRunStatus, type WorldRunStatus } from '../../../src/crds/world-run-status.ts';
import { kubeError, type KubeError, type KubeFault } from '../../../src/kube/errors.ts';
import type { KubeObject, Wire } from '../../../src/kube/resource.ts';
import { keyOf } from '../../../src/kube/store.ts';
import type { VirtualClock } from './virtual-clock.ts';

export interface Kinds {
  runs: WorldRun;
  profiles: RuntimeProfile;
  jobs: Wire<V1Job>;
  pods: Wire<V1Pod>;
  nodes: Wire<V1Node>;
  namespaces: Wire<V1Namespace>;
  pins: Wire<V1ConfigMap>;
  services: Wire<V1Service>;
}
export type Kind = keyof Kinds;
export const KINDS: readonly Kind[] = ['namespaces', 'nodes', 'profiles', 'runs', 'jobs', 'pods', 'pins', 'services'];

export interface Event<K extends Kind = Kind> {
  kind: K;
  type: 'ADDED' | 'MODIFIED' | 'DELETED';
  object: Kinds[K];
}

export const fails = (fault: KubeFault, message: string): KubeError => kubeError(fault, message, { request: 'TEST' });

/**
 * As much of an API server as a run's controller notices: resource versions, uids, names that are taken, uid
 * preconditions, and the rules that the CRD holds every status to. Objects are never changed, only replaced.
 */
export class ApiServer {
  readonly log: Event[] = [];
  readonly #clock: VirtualClock;
  readonly #objects = Object.fromEntries(KINDS.map((kind) => [kind, new Map()])) as unknown as {
    [K in Kind]: Map<string, Kinds[K]>;
  };
  readonly #listeners = new Set<(event: Event) => void>();
  #version = 100;
  /** Counted by kind, so that what else is there does not change the uid, and with it the names, of a run. */
  readonly #made = new Map<Kind, number>();

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  subscribe(listener: (event: Event) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get version(): string {
    return String(this.#version);
  }

  list<K extends Kind>(kind: K): Kinds[K][] {
    return [...this.#objects[kind].values()];
  }

  get<K extends Kind>(kind: K, key: string): Kinds[K] | undefined {
    return this.#objects[kind].get(key);
  }

  /** As a list that was taken when the log had `events` entries. */
  listAt<K extends Kind>(kind: K, events: number): Kinds[K][] {
    const objects = new Map<string, KubeObject>();
    for (const event of this.log.slice(0, events)) {
      if (event.kind !== kind) continue;
      if (event.type === 'DELETED') objects.delete(keyOf(event.object));
      else objects.set(keyOf(event.object), event.object);
    }
    return [...objects.values()] as Kinds[K][];
  }

  create<K extends Kind>(kind: K, object: Kinds[K]): Kinds[K] {
    const key = keyOf(object);
    if (this.#objects[kind].has(key)) throw fails({ kind: 'alreadyExists' }, `${kind} ${key} already exists`);
    const number = (this.#made.get(kind) ?? 0) + 1;
    this.#made.set(kind, number);
    const made = structuredClone(object);
    made.metadata = {
      ...made.metadata,
      uid: `${kind}-${number}`,
      creationTimestamp: this.#clock.stamp(),
      generation: 1,
    };
    if (kind === 'runs') (made as WorldRun).status = structuredClone(INITIAL_STATUS) as unknown as WorldRunStatus;
    this.#put(kind, 'ADDED', key, made);
    return made;
  }

  /** Changes what is there; nothing happens when it is gone. */
  update<K extends Kind>(kind: K, key: string, change: (object: Kinds[K]) => void): void {
    const before = this.get(kind, key);
    if (before === undefined) return;
    const object = structuredClone(before);
    change(object);
    this.#put(kind, 'MODIFIED', key, object);
  }

  updateSpec(key: string, change: (spec: WorldRun['spec']) => void): void {
    this.update('runs', key, (run) => {
      change(run.spec);
      run.metadata!.generation! += 1;
    });
  }

  remove(kind: Kind, key: string): void {
    const before = this.get(kind, key);
    if (before === undefined) return;
    const object = { ...before, metadata: { ...before.metadata, resourceVersion: String(++this.#version) } };
    this.#objects[kind].delete(key);
    this.#tell({ kind, type: 'DELETED', object } as Event);
  }

  /** Answers the object, once name and uid are right. */
  expect<K extends Kind>(kind: K, ref: { namespace?: string; name: string; uid: string }): Kinds[K] {
    const key = ref.namespace === undefined ? ref.name : `${ref.namespace}/${ref.name}`;
    const found = this.get(kind, key);
    if (found === undefined) throw fails({ kind: 'notFound' }, `${kind} ${key} not found`);
    if (found.metadata?.uid !== ref.uid) throw fails({ kind: 'conflict' }, `uid of ${kind} ${key} is another`);
    return found;
  }

  applyStatus(ref: { namespace: string; name: string; uid: string }, status: WorldRunStatus): WorldRun {
    const before = this.expect('runs', ref).status ?? {};
    const parsed = worldRunStatus.safeParse(JSON.parse(JSON.stringify(status)));
    if (!parsed.success) throw fails({ kind: 'invalid' }, parsed.error.message);
    const broken = ruleBroken(before, status);
    if (broken !== undefined) throw fails({ kind: 'invalid' }, broken);
    const key = `${ref.namespace}/${ref.name}`;
    // Server-side apply of the same content is no write.
    if (JSON.stringify(before) !== JSON.stringify(status))
      this.update('runs', key, (run) => (run.status = structuredClone(status)));
    return this.get('runs', key)!;
  }

  /** Server-side apply of the one finalizer; an object that waits for it goes with it. */
  setFinalizer(ref: { namespace: string; name: string; uid: string }, present: boolean): WorldRun {
    const before = this.expect('runs', ref);
    const key = `${ref.namespace}/${ref.name}`;
    const had = (before.metadata?.finalizers?.length ?? 0) > 0;
    if (had !== present)
      this.update('runs', key, (run) => {
        if (present) run.metadata!.finalizers = [FINALIZER];
        else delete run.metadata!.finalizers;
      });
    const after = this.get('runs', key)!;
    if (!present && after.metadata?.deletionTimestamp !== undefined) this.remove('runs', key);
    return after;
  }

  /** As a user deletes a run: at once, or when its finalizer goes. */
  deleteRun(key: string): void {
    const run = this.get('runs', key);
    if (run === undefined) return;
    if ((run.metadata?.finalizers?.length ?? 0) === 0) return this.remove('runs', key);
    this.update('runs', key, (each) => (each.metadata!.deletionTimestamp = this.#clock.stamp()));
  }

  #put<K extends Kind>(kind: K, type: 'ADDED' | 'MODIFIED', key: string, object: Kinds[K]): void {
    object.metadata!.resourceVersion = String(++this.#version);
    this.#objects[kind].set(key, object);
    this.#tell({ kind, type, object } as Event);
  }

  #tell(event: Event): void {
    this.log.push(event);
    for (const listener of this.#listeners) listener(event);
  }
}

/** The CEL rules of the status. */
function ruleBroken(before: WorldRunStatus, after: WorldRunStatus): string | undefined {
  if (before.epoch !== undefined && (after.epoch ?? -1) < before.epoch)
    return 'written by an operator that is no longer the leader';
  if (before.attemptCount !== undefined && (after.attemptCount ?? -1) < before.attemptCount)
    return 'attempts are never taken back';
  if (before.manifestDigest !== undefined && after.manifestDigest !== before.manifestDigest)
    return 'a recorded manifest never changes';
  const ended = before.conditions?.find((c) => c.type === 'Succeeded');
  const now = after.conditions?.find((c) => c.type === 'Succeeded');
  if (ended !== undefined && (now?.status !== ended.status || now.reason !== ended.reason))
    return 'a finished run never changes how it ended';
  return undefined;
}
