import type { AttemptResults, CollectedResult } from '../../results/contract.ts';
import type { Reservation } from '../admission/ledger.ts';
import type { Route } from '../admission/routing.ts';
import { NOWHERE } from '../cost.ts';
import { decide } from '../run/decide.ts';
import type { Decision } from '../run/decision.ts';
import type { NodeView, ProfileView } from '../run/view.ts';
import { emptyMemory, type RunMemory, type World } from '../run/world.ts';
import type { JobBuilder } from './a-job.ts';
import type { PodBuilder } from '../../runtime/local/testing/a-pod.ts';
import { aProfile, type ProfileBuilder } from './a-profile.ts';
import { aRun, type RunBuilder } from './a-run.ts';
import { at, ms } from '../../runtime/local/testing/clock.ts';

export interface Scene {
  /** Seconds since the start of the scenario. */
  now?: number;
  run?: RunBuilder;
  /** `null`: there is none. */
  profile?: ProfileBuilder | null;
  profileReady?: { ready: boolean; message: string };
  /** The profile as the first attempt started with it, where it differs from `profile`. */
  pinned?: ProfileBuilder | undefined;
  /** The pinned profile's ConfigMap exists. Default: as soon as there is a Job. */
  isPinned?: boolean;
  jobs?: readonly JobBuilder[];
  pods?: readonly PodBuilder[];
  nodes?: readonly NodeView[];
  namespace?: { labels?: Record<string, string>; terminating?: boolean } | null;
  results?: Partial<AttemptResults>;
  /** Default: granted. */
  reservation?: Reservation | undefined | 'none';
  twin?: string;
  route?: Route;
  storedBytes?: number;
  memory?: Partial<RunMemory>;
}

/** The world that a scene describes, through the same projections as the caches. */
export function aWorld(scene: Scene = {}): World {
  const run = (scene.run ?? aRun()).live();
  const builder = scene.profile === undefined ? aProfile() : scene.profile;
  const profile = builder?.view();
  const pinned = (scene.pinned ?? (run.status.profile === undefined ? undefined : builder))?.view();
  const jobs = (scene.jobs ?? []).map((job) => (profile === undefined ? job : job.pinnedTo(pinned ?? profile)).view());
  const isPinned = scene.isPinned ?? (jobs.length > 0 || pinned !== undefined);
  const nodes = scene.nodes ?? [];
  const results: AttemptResults = { progress: undefined, results: new Map(), logs: new Map(), ...scene.results };
  return {
    now: ms(scene.now ?? 1),
    run,
    namespace:
      scene.namespace === null
        ? undefined
        : {
            name: run.namespace,
            labels: scene.namespace?.labels ?? {},
            uid: 'namespace-1',
            terminating: scene.namespace?.terminating ?? false,
          },
    profile,
    profileReady: scene.profileReady ?? { ready: true, message: '' },
    pinned: pinned === undefined && jobs.length === 0 ? undefined : asPin(pinned ?? profile),
    pins: { has: () => isPinned },
    jobs,
    pods: (scene.pods ?? []).map((pod) => pod.view()),
    nodes: (name) => nodes.find((node) => node.name === name),
    results,
    resultsOf: () => results,
    reservation: scene.reservation === 'none' ? undefined : (scene.reservation ?? { granted: true }),
    twin: scene.twin,
    storedBytes: scene.storedBytes ?? 0,
    memory: { ...emptyMemory(), ...scene.memory },
    vendor: undefined,
    waitsForPerson: false,
    route: scene.route,
    elsewhere: NOWHERE,
  };
}

function asPin(profile: ProfileView | undefined): World['pinned'] {
  return profile === undefined ? undefined : { name: profile.name, digest: profile.digest, spec: profile.spec };
}

/** What would be done in this scene. */
export function decided(scene: Scene = {}): Decision {
  return decide(aWorld(scene));
}

export function aResult(rank = 0, more: Partial<CollectedResult> = {}): CollectedResult {
  return {
    rank,
    podUid: `uid-pod-of-job-1-${rank}`,
    metrics: { loss: 0.25 },
    metricsOmitted: 0,
    artifacts: [],
    via: 'Gateway',
    collectedAt: at(11),
    ...more,
  };
}

export const aLog = { path: 'run/log.txt', bytes: 10, complete: true, headLost: false, gaps: 0, redacted: 0 };

/** Results of rank 0 with its log: everything that a run of one node waits for. */
export function collected(...results: CollectedResult[]): AttemptResults {
  const all = results.length === 0 ? [aResult()] : results;
  return {
    progress: undefined,
    results: new Map(all.map((r) => [r.rank, r])),
    logs: new Map(all.map((r) => [r.rank, aLog])),
  };
}

export function aNode(name = 'node-1', { ready = true, since = 0 } = {}): NodeView {
  return { name, labels: {}, extended: {}, ready, readyChangedAt: ms(since) };
}
