import type { AttemptResults } from '../../results/contract.ts';
import { parseTerminationMessage } from '../../results/termination-message.ts';
import type { PodView } from '../../runtime/local/pod-state.ts';
import { DEFAULT_PROFILE, type Caches } from '../caches.ts';
import { clientRunId } from '../identity.ts';
import type { Reservation } from '../admission/ledger.ts';
import { assess, route, routesOf, UNKNOWN_PROFILE, type Route } from '../admission/routing.ts';
import { refusalOf } from '../admission/rules.ts';
import { elsewhereOf, NOWHERE } from '../cost.ts';
import type { Vendors } from '../remote/vendors.ts';
import { podsOf } from './attempt.ts';
import type { Results } from './ports.ts';
import type { LiveRun, ProfileView, RunView } from './view.ts';
import { currentAttempt, openAttempt, type RunMemory, type World } from './world.ts';

/** Gathers a run's world from the caches: no I/O, no effects. */

export interface Observed {
  caches: Caches;
  results: Pick<Results, 'of' | 'usage'>;
  installation: string;
  /** Pods that are gone, as they were last seen. */
  ghosts(runUid: string): Iterable<PodView>;
  profileReady(profile: ProfileView): { ready: boolean; configured: boolean; message: string };
  /** Of a run that holds a place. */
  reservationOf(uid: string): Reservation | undefined;
  vendorOf: Vendors['worldOf'];
}

export function observe(from: Observed, run: LiveRun, memory: RunMemory, now: number): World {
  const { caches } = from;
  const jobs = caches.jobs.byIndex('run', run.uid);
  const pods = podsOfRun(from, run.uid, memory);
  const id = clientRunId(from.installation, { namespace: run.namespace, uid: run.uid, runKey: run.spec.runKey });
  const { number, job } = currentAttempt({ run, jobs, memory });
  const recorded = pinnedOf(caches, job?.profileDigest ?? run.status.profile?.digest);
  const routed = job === undefined && openAttempt(run) === undefined ? routeOf(from, run, number, memory) : undefined;
  // Once an attempt has started, the profile of that day is the run's, until a fallback takes over.
  const name = routed?.take ?? run.status.profile?.name ?? run.spec.runtimeProfileRef?.name;
  const profile = name === undefined ? defaultProfile(caches) : caches.profiles.get(name);
  const stays = run.status.profile === undefined || run.status.profile.name === name;
  const pinned = stays ? recorded : undefined;
  const works = pinned ?? (run.status.profile === undefined || !stays ? profile : undefined);
  return {
    now,
    run,
    memory,
    jobs,
    pods,
    profile,
    namespace: caches.namespaces.get(run.namespace),
    profileReady: profile === undefined ? { ready: false, message: '' } : from.profileReady(profile),
    pinned,
    route: routed,
    elsewhere: works === undefined ? NOWHERE : elsewhereOf(run, works, (other) => caches.profiles.get(other)?.spec),
    vendor: from.vendorOf(run, works, number, memory),
    waitsForPerson: works?.spec.onUnknownSubmit === 'WaitForPerson',
    pins: { has: (digest: string) => caches.pins.countByIndex('digest', digest) > 0 },
    nodes: (name) => caches.nodes.get(name),
    results: withTerminationMessages(
      from.results.of({ clientRunId: id, attempt: number }),
      job === undefined ? [] : podsOf({ run, pods }, job),
    ),
    resultsOf: (attempt) => from.results.of({ clientRunId: id, attempt }),
    reservation: from.reservationOf(run.uid) ?? stillDenied(memory.denied, now),
    twin: run.spec.runKey === undefined ? undefined : twinOf(caches, id, run),
    storedBytes: from.results.usage(run.namespace),
  };
}

/** A refusal with an end is forgotten then: the ledger is asked again. */
function stillDenied(denied: RunMemory['denied'], now: number): RunMemory['denied'] {
  return denied?.until !== undefined && denied.until <= now ? undefined : denied;
}

/** Undefined for a run that names no fallbacks, and before its namespace is known. */
function routeOf(from: Observed, run: LiveRun, number: number, memory: RunMemory): Route | undefined {
  const { caches } = from;
  const { fallbackProfileRefs, runtimeProfileRef } = run.spec;
  const namespace = caches.namespaces.get(run.namespace);
  const first = runtimeProfileRef?.name ?? defaultProfile(caches)?.name;
  if (fallbackProfileRefs === undefined || first === undefined || namespace === undefined) return undefined;
  const candidates = routesOf(run.spec, first, run.status.attempts ?? []).map((name) => {
    const profile = caches.profiles.get(name);
    const pinned = name === run.status.profile?.name ? pinnedOf(caches, run.status.profile.digest) : undefined;
    const works = pinned ?? profile;
    if (profile === undefined || works === undefined) return assess({ ...UNKNOWN_PROFILE, name });
    const vendor = from.vendorOf(run, works, number, memory);
    const input = { run: run.spec, profile: works.spec, profileName: name, namespace, traits: vendor?.traits };
    // Where it began it was admitted; it is not judged by what its profile says since.
    const refusal = pinned === undefined ? refusalOf(input) : undefined;
    const planned = vendor?.plan?.ok === false ? vendor.plan : undefined;
    return assess({
      name,
      found: true,
      refusal: refusal ?? planned,
      ready: from.profileReady(profile),
      credentials: vendor?.access ?? { ready: true },
      degraded: vendor?.degraded,
    });
  });
  return route(candidates);
}

export function defaultProfile(caches: Caches): ProfileView | undefined {
  let best: ProfileView | undefined;
  for (const profile of caches.profiles.list()) {
    if (profile.isDefault && (best === undefined || profile.createdAt < best.createdAt)) best = profile;
  }
  return best;
}

export function profileKeysOf(profile: ProfileView): string[] {
  return profile.isDefault ? [profile.name, DEFAULT_PROFILE] : [profile.name];
}

function pinnedOf(caches: Caches, digest: string | undefined): World['pinned'] {
  const pin = digest === undefined ? undefined : caches.pins.byIndex('digest', digest)[0];
  return pin === undefined ? undefined : { name: pin.profileName, digest: pin.digest, spec: pin.spec };
}

function podsOfRun(from: Observed, runUid: string, memory: RunMemory): World['pods'] {
  const live = from.caches.pods.byIndex('run', runUid).map((pod) => ({ ...pod, gone: memory.removed.has(pod.uid) }));
  const here = new Set(live.map((pod) => pod.uid));
  const gone = [...from.ghosts(runUid)].filter((pod) => !here.has(pod.uid)).map((pod) => ({ ...pod, gone: true }));
  return [...live, ...gone];
}

/** A collector that never reached the gateway leaves the metrics in its termination message. */
function withTerminationMessages(results: AttemptResults, pods: World['pods']): AttemptResults {
  const left = pods.flatMap((pod) => {
    if (pod.collector?.is !== 'terminated' || results.results.has(pod.rank)) return [];
    const parsed = parseTerminationMessage(pod.collector.message, {
      rank: pod.rank,
      podUid: pod.uid,
      collectedAt: pod.collector.finishedAt,
    });
    return parsed === undefined ? [] : [[pod.rank, parsed] as const];
  });
  return left.length === 0 ? results : { ...results, results: new Map([...results.results, ...left]) };
}

/** It will never execute: nobody has to wait for it. */
const isRefused = (run: RunView): boolean => run.state === 'live' && run.status.phase === 'Refused';

/** An older live run of the same key comes first. */
function twinOf(caches: Caches, id: string, run: LiveRun): string | undefined {
  const others = caches.runs
    .byIndex('clientRunId', id)
    .filter((other) => other.uid !== run.uid && !other.deleting && !isRefused(other));
  const first = others.find(
    (other) => other.createdAt < run.createdAt || (other.createdAt === run.createdAt && other.uid < run.uid),
  );
  return first?.name;
}
