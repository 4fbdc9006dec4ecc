import type { DoctorLine, RuntimeProfileSpec } from '../../crds/runtime-profile.ts';
import type { NodeView } from '../run/view.ts';

/**
 * WorldFlux's `doctor` for the local runtime: one line a check, an error blocks runs. Pure: what the cluster says is
 * gathered before.
 */
export interface DoctorInput {
  spec: RuntimeProfileSpec;
  nodes: Iterable<NodeView>;
  /** Names of other profiles that are marked as the default one. */
  otherDefaults: readonly string[];
  isDefault: boolean;
  /** Whether the classes that the profile names exist; `info` when that could not be read. */
  classes: readonly { kind: 'PriorityClass' | 'RuntimeClass'; name: string; level: DoctorLine['level'] }[];
  /** Runs of this profile that wait for a Secret, or that a quota keeps back, in the words of the cluster. */
  troubled: { secrets: readonly string[]; quota: readonly string[] };
}

const line = (check: string, level: DoctorLine['level'], message: string): DoctorLine => ({
  check,
  level,
  message: message.slice(0, 500),
});

/** Registry, repository, tag and digest as container runtimes accept them. */
const IMAGE =
  /^[a-z0-9]+([._-][a-z0-9]+)*(:[0-9]+)?(\/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$/;

export function doctor(input: DoctorInput): DoctorLine[] {
  const { spec } = input;
  const local = spec.local!;
  const lines: DoctorLine[] = [image(local.image), ...gpu(input), ...pricing(spec), ...defaults(input)];
  for (const { kind, name, level } of input.classes) {
    const words = { ok: 'exists', info: 'could not be looked up', error: 'does not exist: create it or name another' }[
      level
    ];
    lines.push(line(kind === 'PriorityClass' ? 'priority-class' : 'runtime-class', level, `${kind} ${name} ${words}.`));
  }
  lines.push(
    trouble(
      'secrets',
      input.troubled.secrets,
      'wait for a Secret',
      'Secrets are read by the kubelet in each run’s namespace; no run misses one now.',
    ),
  );
  lines.push(
    trouble(
      'quota',
      input.troubled.quota,
      'are kept back by a quota or a policy',
      'No run is kept back by a quota now.',
    ),
  );
  return lines;
}

/** A floor that anybody could step over is none: without its policy a profile that asks for approvals is not ready. */
export function approvalLine({ approval }: RuntimeProfileSpec, policy: DoctorLine['level'] | undefined): DoctorLine[] {
  if (approval?.required !== true) return [];
  if (policy === 'ok') return [line('approval', 'ok', 'Approvals are checked by the API server.')];
  const why = policy === 'error' ? 'is not installed' : 'could not be looked up yet';
  return [
    line(
      'approval',
      'error',
      `spec.approval.required: the admission policy approvals.worldflux.ai ${why}; the chart installs it (policies.enabled).`,
    ),
  ];
}

function image(reference: string | undefined): DoctorLine {
  if (reference === undefined) return line('image', 'info', 'No image of its own: every run must name one.');
  if (!IMAGE.test(reference))
    return line(
      'image',
      'error',
      `spec.local.image: ${reference} is no image reference; write registry/repository:tag or …@sha256:<digest>.`,
    );
  if (!reference.includes('@sha256:'))
    return line('image', 'info', `${reference} is not pinned by digest: what it stands for may change.`);
  return line('image', 'ok', `${reference} is pinned by digest.`);
}

function matches(labels: Record<string, string>, selector: Record<string, string> | undefined): boolean {
  return Object.entries(selector ?? {}).every(([key, value]) => labels[key] === value);
}

function gpu({ spec, nodes }: DoctorInput): DoctorLine[] {
  const local = spec.local!;
  const want = local.gpu;
  let fitting = 0;
  let selected = 0;
  for (const node of nodes) {
    if (!matches(node.labels, local.nodeSelector)) continue;
    selected += 1;
    if (want !== undefined && node.ready && (node.extended[want.resourceName] ?? 0) >= want.count) fitting += 1;
  }
  const lines: DoctorLine[] = [];
  if (local.nodeSelector !== undefined && selected === 0)
    lines.push(line('nodes', 'info', 'No node matches spec.local.nodeSelector right now.'));
  if (want === undefined || want.count === 0) return lines;
  if (fitting > 0)
    return [...lines, line('gpu-visible', 'ok', `${fitting} ready node(s) have ${want.count} × ${want.resourceName}.`)];
  const absent = `No ready node that matches has ${want.count} × ${want.resourceName} right now`;
  return [
    ...lines,
    want.requirePresent
      ? line(
          'gpu-visible',
          'error',
          `${absent}: install the device plugin, add such a node, or set spec.local.gpu.requirePresent to false.`,
        )
      : line('gpu-visible', 'info', `${absent}; runs wait for one.`),
  ];
}

function pricing({ limits, pricing }: RuntimeProfileSpec): DoctorLine[] {
  const capped = (['maxCostUSDPerRun', 'maxCostUSDPerNamespacePerDay'] as const).find(
    (cap) => limits[cap] !== undefined,
  );
  if (capped === undefined) return [];
  if (pricing?.usdPerGPUHour === undefined && pricing?.usdPerNodeHour === undefined) {
    return [line('pricing', 'error', `limits.${capped} needs spec.pricing: add usdPerGPUHour or usdPerNodeHour.`)];
  }
  return [line('pricing', 'ok', 'Runs are priced before they start.')];
}

export function defaults({ isDefault, otherDefaults }: Pick<DoctorInput, 'isDefault' | 'otherDefaults'>): DoctorLine[] {
  if (!isDefault || otherDefaults.length === 0) return [];
  return [
    line(
      'default-profile',
      'info',
      `${otherDefaults.join(', ')} also carry worldflux.ai/is-default-profile; the oldest one counts.`,
    ),
  ];
}

function trouble(check: string, words: readonly string[], what: string, fine: string): DoctorLine {
  if (words.length === 0) return line(check, 'ok', fine);
  return line(check, 'info', `${words.length} run(s) ${what}: ${words.slice(0, 3).join('; ')}`);
}
