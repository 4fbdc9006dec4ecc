import type { Requeue } from '../../kube/work-queue.ts';
import type { DoctorLine, RuntimeProfileStatus } from '../../crds/runtime-profile.ts';
import { SYNC_CONDITIONS } from '../../crds/vocabulary.ts';
import type { Caches } from '../caches.ts';
import { profileKeysOf } from '../run/observe.ts';
import { mergeConditions } from '../run/situation.ts';
import type { ProfileView } from '../run/view.ts';
import { approvalLine, defaults, doctor } from './doctor.ts';
import { VENDOR_CHECK, type VendorDoctor, type VendorFindings } from './vendor-doctor.ts';

/** What the profile controller does to the API server. Throws KubeErrors. */
export interface ProfileCluster {
  applyProfileStatus(profile: { name: string; uid: string }, status: RuntimeProfileStatus): Promise<void>;
  /** `ok`: exists; `error`: does not; `info`: could not be looked up. */
  findClass(kind: 'PriorityClass' | 'RuntimeClass', name: string): Promise<DoctorLine['level']>;
  /** Whether the API server checks approvals, with the same words. */
  findApprovalPolicy(): Promise<DoctorLine['level']>;
}

export interface ProfileControllerOptions {
  caches: Caches;
  cluster: ProfileCluster;
  vendors: Pick<VendorDoctor, 'isVendor' | 'examine' | 'forget'>;
  /** Whether calls to a profile's vendor have failed often of late. */
  degraded(profile: string): { degraded: boolean; reason: 'CallsFail' | 'CallsSucceed'; message: string };
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
}

/** Checks whose error may go away without anybody touching the profile. */
const DEPENDENCIES: readonly string[] = ['gpu-visible', VENDOR_CHECK];

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
      if (change.type === 'deleted' || change.old?.generation !== profile.generation)
        this.#o.vendors.forget(profile.name);
      if (change.type === 'deleted') this.#verdicts.delete(profile.name);
      // Our own status write comes back as a change too.
      else if (change.old?.generation !== profile.generation || change.old.isDefault !== profile.isDefault)
        queue.add(profile.name);
    });
    caches.nodes.subscribe(() => {
      for (const profile of caches.profiles.list()) queue.addAfter(profile.name, NODE_PAUSE_MS);
    });
  }

  /**
   * What the doctor says of the profile as it is now. Never waits: an unexamined profile is examined from the caches, a
   * vendor's is what the leader before said of it. `configured`: whatever is wrong may go away by itself.
   */
  ready(profile: ProfileView): { ready: boolean; configured: boolean; message: string } {
    const known = this.#verdicts.get(profile.name);
    const lines =
      known?.uid === profile.uid && known.generation === profile.generation
        ? known.lines
        : this.#o.vendors.isVendor(profile.spec)
          ? lastSaid(profile)
          : this.#examine(profile, []).lines;
    const errors = lines.filter((line) => line.level === 'error');
    return {
      ready: errors.length === 0,
      configured: errors.every(({ check }) => DEPENDENCIES.includes(check)),
      message: errors[0]?.message ?? '',
    };
  }

  async reconcile(name: string): Promise<Requeue | undefined> {
    const { caches, cluster, now, onVerdict } = this.#o;
    const profile = caches.profiles.get(name);
    if (profile === undefined) return undefined;
    const before = this.ready(profile);
    const vendor = this.#o.vendors.isVendor(profile.spec)
      ? await this.#o.vendors.examine({ name, digest: profile.digest, spec: profile.spec })
      : undefined;
    const classes = await this.#lookUpClasses(profile);
    const policy = profile.spec.approval?.required === true ? await cluster.findApprovalPolicy() : undefined;
    const current = caches.profiles.get(name);
    // It is another one since: that one is on its way through the queue.
    if (current?.uid !== profile.uid || current.generation !== profile.generation) return undefined;
    const { lines } =
      vendor === undefined ? this.#examine(profile, classes, policy) : this.#judge(profile, vendor, policy);
    const after = this.ready(profile);
    if (before.ready !== after.ready || before.message !== after.message) onVerdict(profile);
    const status = this.#status(current, lines, vendor, now());
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

  /** In one order, whatever the cache's: other words would be another write. */
  #otherDefaults(profile: ProfileView): string[] {
    return [...this.#o.caches.profiles.list()]
      .filter((p) => p.isDefault && p.name !== profile.name)
      .map((p) => p.name)
      .toSorted();
  }

  #judge(profile: ProfileView, { lines }: VendorFindings, policy: DoctorLine['level'] | undefined): Verdict {
    const { uid, generation, isDefault } = profile;
    const all = [
      ...lines,
      ...approvalLine(profile.spec, policy),
      ...defaults({ isDefault, otherDefaults: this.#otherDefaults(profile) }),
    ];
    const verdict = { uid, generation, lines: all };
    this.#verdicts.set(profile.name, verdict);
    return verdict;
  }

  #examine(profile: ProfileView, classes: Classes, policy?: DoctorLine['level']): Verdict {
    const { caches } = this.#o;
    const lines = doctor({
      spec: profile.spec,
      nodes: caches.nodes.list(),
      isDefault: profile.isDefault,
      otherDefaults: this.#otherDefaults(profile),
      classes,
      troubled: {
        secrets: this.#runsThatSay(profile, 'SecretMissing'),
        quota: this.#runsThatSay(profile, 'JobRefused'),
      },
    });
    lines.push(...approvalLine(profile.spec, policy));
    const verdict = { uid: profile.uid, generation: profile.generation, lines };
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
  #status(
    profile: ProfileView,
    lines: DoctorLine[],
    vendor: VendorFindings | undefined,
    now: number,
  ): RuntimeProfileStatus | undefined {
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
    const configured = this.ready(profile).configured;
    const degraded = this.#o.degraded(profile.name);
    const conditions = mergeConditions(
      profile.status.conditions,
      [
        say('Ready', ok),
        say('Configured', configured),
        say('Healthy', ok),
        { ...say('Reconciling', false), message: '' },
        { ...say('Stalled', !ok), message: ok ? '' : message },
        ...(vendor === undefined
          ? []
          : [
              {
                type: 'Degraded',
                status: degraded.degraded ? ('True' as const) : ('False' as const),
                reason: degraded.reason,
                message: degraded.message,
              },
            ]),
      ],
      profile.generation,
      now,
    );
    const config = vendor?.config ?? [];
    const same =
      conditions === profile.status.conditions &&
      profile.status.digest === profile.digest &&
      JSON.stringify(profile.status.doctor ?? []) === JSON.stringify(lines) &&
      JSON.stringify(profile.status.config ?? []) === JSON.stringify(config);
    if (same) return undefined;
    return {
      conditions: conditions.filter(({ type }) => !SYNC_CONDITIONS.includes(type)),
      doctor: lines,
      ...(config.length > 0 && { config }),
      observedGeneration: profile.generation,
      digest: profile.digest,
    };
  }
}

/** What the status says of this very spec; before anybody has asked the vendor, that nobody has. */
function lastSaid({ status, digest }: ProfileView): DoctorLine[] {
  if (status.digest === digest && status.doctor !== undefined) return status.doctor;
  return [{ check: 'doctor', level: 'error', message: 'The doctor has not looked yet.' }];
}
