/**
 * NetworkPolicies of Kubernetes as a table of nftables: for each Pod that one selects, what may reach it and what it may reach. Our own
 * reading of their specification, with what the chart's policies use, and none of a published network plugin.
 */

type Labels = Record<string, string>;
interface Selector {
  matchLabels?: Labels;
  matchExpressions?: unknown[];
}
interface Peer {
  podSelector?: Selector;
  namespaceSelector?: Selector;
  ipBlock?: { cidr: string; except?: string[] };
}
interface Port {
  protocol?: string;
  port?: number | string;
  endPort?: number;
}
interface Rule {
  from?: Peer[];
  to?: Peer[];
  ports?: Port[];
}
export interface Policy {
  metadata: { name: string; namespace: string };
  spec: { podSelector: Selector; policyTypes: string[]; ingress?: Rule[]; egress?: Rule[] };
}
export interface Pod {
  metadata: { name: string; namespace: string; labels?: Labels };
  spec: {
    hostNetwork?: boolean;
    containers: { ports?: { name?: string; containerPort: number; protocol?: string }[] }[];
  };
  status: { phase: string; podIP?: string };
}
export interface Namespace {
  metadata: { name: string; labels?: Labels };
}
export interface World {
  policies: readonly Policy[];
  pods: readonly Pod[];
  namespaces: readonly Namespace[];
}

const TABLE = 'inet network-policies';

/** Replaces what was there in one transaction, so that no packet meets half of it. */
export function ruleset(world: World): string {
  const chains: string[] = [];
  const toPods: string[] = [];
  const fromPods: string[] = [];
  for (const pod of world.pods.filter(isReached)) {
    const ip = pod.status.podIP!;
    for (const direction of ['Ingress', 'Egress'] as const) {
      const selecting = world.policies.filter(
        ({ metadata, spec }) =>
          metadata.namespace === pod.metadata.namespace &&
          spec.policyTypes.includes(direction) &&
          selects(spec.podSelector, pod.metadata.labels),
      );
      if (selecting.length === 0) continue;
      const name = `${direction}-${ip.replaceAll('.', '-')}`;
      const allowed = selecting.flatMap((policy) => allowedBy(policy, direction, pod, world));
      chains.push(`chain ${name} {`, ...allowed, 'reject', '}');
      (direction === 'Ingress' ? toPods : fromPods).push(
        `ip ${direction === 'Ingress' ? 'daddr' : 'saddr'} ${ip} jump ${name}`,
      );
    }
  }
  const KNOWN = 'ct state established,related accept';
  return [
    `table ${TABLE}`,
    `delete table ${TABLE}`,
    `table ${TABLE} {`,
    ...chains,
    // The node itself reaches its Pods whatever policies say: the kubelet's probes are the node's.
    `chain forward { type filter hook forward priority filter; ${[KNOWN, ...fromPods, ...toPods].join('; ')}; }`,
    `chain input { type filter hook input priority filter; ${[KNOWN, ...fromPods].join('; ')}; }`,
    '}',
  ].join('\n');
}

function allowedBy(policy: Policy, direction: 'Ingress' | 'Egress', pod: Pod, world: World): string[] {
  const [rules, far] =
    direction === 'Ingress' ? [policy.spec.ingress ?? [], 'saddr'] : [policy.spec.egress ?? [], 'daddr'];
  return rules.flatMap((rule) => {
    const peers = (direction === 'Ingress' ? rule.from : rule.to) ?? [];
    const addresses = peers.length === 0 ? [''] : peers.flatMap((peer) => matches(peer, far, policy, world));
    const ports = (rule.ports ?? []).length === 0 ? [''] : rule.ports!.map((port) => portMatch(port, direction, pod));
    return addresses.flatMap((address) => ports.map((port) => `${address} ${port} return`.trim()));
  });
}

function matches(peer: Peer, far: string, policy: Policy, world: World): string[] {
  if (peer.ipBlock !== undefined) {
    const { cidr, except = [] } = peer.ipBlock;
    const family = cidr.includes(':') ? 'ip6' : 'ip';
    return [[cidr, ...except].map((range, i) => `${family} ${far} ${i === 0 ? '' : '!= '}${range}`).join(' ')];
  }
  const { namespaceSelector, podSelector } = peer;
  const namespaces = world.namespaces
    .filter(({ metadata }) =>
      namespaceSelector === undefined
        ? metadata.name === policy.metadata.namespace
        : selects(namespaceSelector, metadata.labels),
    )
    .map(({ metadata }) => metadata.name);
  return world.pods
    .filter(isReached)
    .filter(({ metadata }) => namespaces.includes(metadata.namespace) && selects(podSelector ?? {}, metadata.labels))
    .map(({ status }) => `ip ${far} ${status.podIP}`);
}

function portMatch({ protocol = 'TCP', port, endPort }: Port, direction: 'Ingress' | 'Egress', pod: Pod): string {
  const kind = protocol.toLowerCase();
  if (port === undefined) return `meta l4proto ${kind}`;
  if (typeof port === 'number') return `${kind} dport ${endPort === undefined ? port : `${port}-${endPort}`}`;
  if (direction === 'Egress') throw new Error(`${port}: a named port of whoever is reached is not needed here`);
  const named = pod.spec.containers
    .flatMap(({ ports }) => ports ?? [])
    .find((one) => one.name === port && (one.protocol ?? 'TCP') === protocol);
  // A Pod without such a port is reached by nothing through this rule.
  return named === undefined ? `${kind} dport 0` : `${kind} dport ${named.containerPort}`;
}

const isReached = ({ spec, status }: Pod): boolean =>
  status.podIP !== undefined && spec.hostNetwork !== true && !['Succeeded', 'Failed'].includes(status.phase);

function selects({ matchLabels = {}, matchExpressions = [] }: Selector, labels: Labels = {}): boolean {
  if (matchExpressions.length > 0) throw new Error('matchExpressions are not needed here');
  return Object.entries(matchLabels).every(([key, value]) => labels[key] === value);
}
