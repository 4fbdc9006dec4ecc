import type { Requeue } from '../../kube/work-queue.ts';
import type { DoctorLine, RuntimeProfileStatus } from '../../crds/runtime-profile.ts';
import { SYNC_CONDITIONS } from '../../crds/vocabulary.ts';
import type { Caches } from '../caches.ts';
import { profileKeysOf } from '../run/observe.ts';
import { mergeConditions } from '../run/situation.ts';
import type { ProfileView } from '../run/view.ts';
import { doctor } from './doctor.ts';

/** What the profile controller does to the API server. Throws KubeErrors. */
export interface ProfileCluster {
  applyProfileStatus(profile: { name: string; uid: string }, status: RuntimeProfileStatus): Promise<void>;
  /** `ok`: exists; `error`: does not; `info`: could not be looked up. */
  findClass(kind: 'PriorityClass' | 'RuntimeClass', name: string): Promise<DoctorLine['level']>;
}

export interface ProfileControllerOptions {
  caches: Caches;
  cluster: ProfileCluster;
  queue: { add(key: string): void; addAfter(key: string, delayMs: number): void };
  /** The verdict on a profile is another one now: its waiting runs are looked at again. */
  onVerdict(profile: ProfileView): void;
  now(): number;
}

type Classes = readonly { kind: 'PriorityClass' | 'RuntimeClass'; name: string; level: DoctorLine['level'] }[];

interface Verdict {
  uid: string;
  generation: number;
  lines: DoctorLine[];
  classes: Classes;
}

const PERIOD_MS = 60_000;
/** A thousand nodes that join at once are one look, not a thousand. */
const NODE_PAUSE_MS = 2000;

/** Keeps each profile's doctor lines and conditions true: on change, when nodes change, and every minute. */
export class ProfileController {
  readonly #o: ProfileControllerOptions;
  readonly #verdicts = new Map<string, Verdict>();

  constructor(options: ProfileControllerOptions) {
    this.#o = options;
    const { caches, queue } = options;
    caches.profiles.subscribe((change) => {
      const profile = change.new ?? change.old;
      if (change.type === 'deleted') this.#verdicts.delete(profile.name);
      // Our own status write comes back as a change too.
      else if (change.old?.generation !== profile.generation || change.old.isDefault !== profile.isDefault)
        queue.add(profile.name);
    });
    caches.nodes.subscribe(() => {
      for (const profile of caches.profiles.list()) queue.addAfter(profile.name, NODE_PAUSE_MS);
    });
  }

  /** What the doctor says of the profile as it is now. Never waits: an unexamined profile is examined from the caches. */
  ready(profile: ProfileView): { ready: boolean; message: string } {
    const known = this.#verdicts.get(profile.name);
    const current =
      known?.uid === profile.uid && known.generation === profile.generation ? known : this.#examine(profile, []);
    const error = current.lines.find((line) => line.level === 'error');
    return { ready: error === undefined, message: error?.message ?? '' };
  }

  async reconcile(name: string): Promise<Requeue | undefined> {
    const { caches, cluster, now, onVerdict } = this.#o;
    const profile = caches.profiles.get(name);
    if (profile === undefined) return undefined;
    const before = this.ready(profile);
    const { lines } = this.#examine(profile, await this.#lookUpClasses(profile));
    const after = this.ready(profile);
    if (before.ready !== after.ready || before.message !== after.message) onVerdict(profile);
    const status = this.#status(profile, lines, now());
    if (status !== undefined) await cluster.applyProfileStatus(profile, status);
    return { afterMs: PERIOD_MS };
  }

  async #lookUpClasses({ spec }: ProfileView): Promise<Classes> {
    const { priorityClassName, runtimeClassName } = spec.local ?? {};
    const classes: { kind: 'PriorityClass' | 'RuntimeClass'; name: string; level: DoctorLine['level'] }[] = [];
    for (const [kind, name] of [
      ['PriorityClass', priorityClassName],
      ['RuntimeClass', runtimeClassName],
    ] as const) {
      if (name !== undefined) classes.push({ kind, name, level: await this.#o.cluster.findClass(kind, name) });
    }
    return classes;
  }

  #examine(profile: ProfileView, classes: Classes): Verdict {
    const { caches } = this.#o;
    // In one order, whatever the cache's: other words would be another write.
    const others = [...caches.profiles.list()]
      .filter((p) => p.isDefault && p.name !== profile.name)
      .map((p) => p.name)
      .toSorted();
    const lines = doctor({
      spec: profile.spec,
      nodes: caches.nodes.list(),
      isDefault: profile.isDefault,
      otherDefaults: others,
      classes,
      troubled: {
        secrets: this.#runsThatSay(profile, 'SecretMissing'),
        quota: this.#runsThatSay(profile, 'JobRefused'),
      },
    });
    const verdict = { uid: profile.uid, generation: profile.generation, lines, classes };
    this.#verdicts.set(profile.name, verdict);
    return verdict;
  }

  #runsThatSay(profile: ProfileView, reason: string): string[] {
    const words: string[] = [];
    for (const key of profileKeysOf(profile)) {
      for (const run of this.#o.caches.runs.byIndex('profile', key)) {
        const ready = run.state === 'live' ? run.status.conditions?.find((c) => c.type === 'Ready') : undefined;
        if (ready?.reason === reason) words.push(`${run.namespace}/${run.name}`);
      }
    }
    return words.toSorted();
  }

  /** The status to write, or undefined when it already stands. */
  #status(profile: ProfileView, lines: DoctorLine[], now: number): RuntimeProfileStatus | undefined {
    const error = lines.find((line) => line.level === 'error');
    const reason = error === undefined ? 'DoctorPassed' : 'DoctorFailed';
    const message = error?.message ?? 'Every check passed.';
    const say = (type: string, ok: boolean) => ({
      type,
      status: ok ? ('True' as const) : ('False' as const),
      reason,
      message,
    });
    const ok = error === undefined;
    const configured = error === undefined || error.check === 'gpu-visible';
    const conditions = mergeConditions(
      profile.status.conditions,
      [
        say('Ready', ok),
        say('Configured', configured),
        say('Healthy', ok),
        { ...say('Reconciling', false), message: '' },
        { ...say('Stalled', !ok), message: ok ? '' : message },
      ],
      profile.generation,
      now,
    );
    const same =
      conditions === profile.status.conditions &&
      profile.status.digest === profile.digest &&
      JSON.stringify(profile.status.doctor ?? []) === JSON.stringify(lines);
    if (same) return undefined;
    return {
      conditions: conditions.filter(({ type }) => !SYNC_CONDITIONS.includes(type)),
      doctor: lines,
      observedGeneration: profile.generation,
      digest: profile.digest,
    };
  }
}
