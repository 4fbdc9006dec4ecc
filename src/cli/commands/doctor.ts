import type { V1EndpointSlice, V1Node, V1SelfSubjectAccessReview } from '@kubernetes/client-node';
import { isKubeError } from '../../kube/errors.ts';
import { NODES, resourceType, type Wire } from '../../kube/resource.ts';
import { RESULTS_API_VERSION, RESULTS_GROUP, RESULTS_ROOT } from '../../results/api/protocol.ts';
import { API_VERSION, GROUP } from '../../crds/common.ts';
import { DEFAULT_PROFILE_ANNOTATION } from '../../crds/runtime-profile.ts';
import { answerOf, type Answer } from '../envelope.ts';
import { cliErrorOf, EXIT_CODES } from '../errors.ts';
import { RUNTIME_PROFILES, type RuntimeProfile } from '../resources.ts';
import type { Session } from '../session.ts';
import { oneLine } from '../table.ts';
import {
  isReady,
  runtimeFacts,
  runtimeLines,
  secretLines,
  upstreamLines,
  type Line,
  type RuntimeFacts,
  type RuntimeQuestion,
} from './doctor-runtimes.ts';

type Level = Line['level'];

const SELF_REVIEWS = resourceType<Wire<V1SelfSubjectAccessReview>>({
  group: 'authorization.k8s.io',
  version: 'v1',
  plural: 'selfsubjectaccessreviews',
  namespaced: false,
  kind: 'SelfSubjectAccessReview',
});

const CALL_MS = 10_000;

/** What this user can do here, from the outside in: cluster, kinds, rights, profiles, gateway, results, GPUs. */
export async function doctor(session: Session, question: RuntimeQuestion): Promise<Answer<'Doctor'>> {
  const reached = await cluster(session);
  const checks = [reached];
  let runtimes: RuntimeFacts[] = [];
  if (reached.level === 'ok') {
    const kinds = await servedLine(
      session,
      'kinds',
      `/apis/${API_VERSION}`,
      'error',
      'WorldRuns are not known here: install the operator’s chart, which brings its CRDs',
    );
    checks.push(kinds);
    if (kinds.level === 'ok') {
      const [listed, may] = await Promise.all([listProfiles(session), rights(session)]);
      checks.push(listed.line, ...may, await profileRights(session, listed.profiles));
      runtimes = runtimeFacts(listed.profiles, question);
      if (listed.known) checks.push(...runtimeLines(runtimes, question.capability));
      checks.push(...(await secretLines(session, listed.profiles)), ...upstreamLines(listed.profiles));
    }
    checks.push(
      await gateway(session),
      await servedLine(
        session,
        'results',
        RESULTS_ROOT,
        'info',
        `${RESULTS_API_VERSION} is not served: logs and artifacts of runs whose pods are gone cannot be read (the chart’s resultsApi.enabled)`,
      ),
      await gpus(session),
    );
  }
  const healthy = checks.every(({ level }) => level !== 'error');
  const text = checks.map((c) => `${c.level.padEnd(5)} ${c.check}: ${oneLine(c.message)}`).join('\n');
  return answerOf('Doctor', { healthy, checks, runtimes }, text, healthy ? undefined : EXIT_CODES.notVerified);
}

const line = (check: string, level: Level, message: string): Line => ({ check, level, message });

/** What a look came to; words in place of an error, so that the other looks go on. */
async function looked(check: string, otherwise: Level, look: () => Promise<Line>): Promise<Line> {
  try {
    return await look();
  } catch (error) {
    const { message, code } = cliErrorOf(error);
    if (code === 'interrupted') throw error;
    return line(check, otherwise, message);
  }
}

async function getJson({ client, signal }: Session, path: string): Promise<Record<string, unknown>> {
  const { body } = await client.open(path, { signal: AbortSignal.any([signal, AbortSignal.timeout(CALL_MS)]) });
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk as Buffer);
  return JSON.parse(Buffer.concat(chunks).toString('utf8')) as Record<string, unknown>;
}

const OLDEST_MINOR = 29;

async function cluster(session: Session): Promise<Line> {
  return looked('cluster', 'error', async () => {
    const { gitVersion, major, minor } = await getJson(session, '/version');
    const isOld = Number(major) === 1 && Number.parseInt(String(minor), 10) < OLDEST_MINOR;
    return isOld
      ? line(
          'cluster',
          'error',
          `Kubernetes ${String(gitVersion)} has no native sidecars: 1.${OLDEST_MINOR} or newer is needed`,
        )
      : line('cluster', 'ok', `Kubernetes ${String(gitVersion)}`);
  });
}

async function servedLine(
  session: Session,
  check: string,
  path: string,
  otherwise: Level,
  without: string,
): Promise<Line> {
  return looked(check, otherwise, async () => {
    try {
      await getJson(session, path);
      return line(check, 'ok', `${path.replace('/apis/', '')} is served`);
    } catch (error) {
      if (isKubeError(error, 'notFound')) return line(check, otherwise, without);
      if (isKubeError(error, 'unavailable'))
        return line(
          check,
          'error',
          `${path} is registered, and nobody answers: kubectl get apiservices, and look at the operator`,
        );
      throw error;
    }
  });
}

interface Listed {
  line: Line;
  profiles: RuntimeProfile[];
  /** False where they could not be read: that says nothing of them. */
  known: boolean;
}

async function listProfiles({ client, signal }: Session): Promise<Listed> {
  const profiles: RuntimeProfile[] = [];
  let known = false;
  const about = await looked('profiles', 'info', async () => {
    for await (const profile of client.list(RUNTIME_PROFILES, { signal, timeoutMs: CALL_MS })) profiles.push(profile);
    known = true;
    const ready = profiles.filter(isReady);
    const standard = profiles.find(({ metadata }) => metadata?.annotations?.[DEFAULT_PROFILE_ANNOTATION] === 'true')
      ?.metadata?.name;
    if (profiles.length === 0) return line('profiles', 'error', 'there is no RuntimeProfile: no run can start');
    const words = `${ready.length} of ${profiles.length} ready; default: ${standard ?? 'none, so every run names one'}`;
    if (ready.length === 0) return line('profiles', 'error', `${words}; kubectl worldflux runtime doctor says why`);
    return line('profiles', ready.length === profiles.length ? 'ok' : 'info', words);
  });
  return { line: about, profiles, known };
}

const GATEWAY = 'worldflux-operator-gateway';
const ENDPOINT_SLICES = resourceType<Wire<V1EndpointSlice>>({
  group: 'discovery.k8s.io',
  version: 'v1',
  plural: 'endpointslices',
  namespaced: true,
  kind: 'EndpointSlice',
});

/** Where the pods of runs bring their results: behind its Service stands an operator that is ready. */
async function gateway({ client, signal }: Session): Promise<Line> {
  return looked('gateway', 'info', async () => {
    const selection = { labelSelector: `kubernetes.io/service-name=${GATEWAY}`, signal, timeoutMs: CALL_MS };
    let ready = 0;
    let waiting = 0;
    for await (const { endpoints } of client.list(ENDPOINT_SLICES, selection))
      for (const { conditions } of endpoints ?? []) {
        if (conditions?.ready === false) waiting += 1;
        else ready += 1;
      }
    if (ready > 0) return line('gateway', 'ok', `${ready} operator(s) ready behind Service ${GATEWAY}`);
    if (waiting > 0)
      return line(
        'gateway',
        'error',
        `${waiting} operator(s), none of them ready: kubectl get pods -A -l app.kubernetes.io/name=worldflux-operator`,
      );
    // One that runs outside of the cluster has no Service.
    return line('gateway', 'info', `nothing stands behind a Service ${GATEWAY}: is the operator installed?`);
  });
}

interface Right {
  verb: string;
  group: string;
  resource: string;
  subresource?: string;
  /** For: what cannot be done without it. */
  to: string;
}

const RIGHTS: readonly Right[] = [
  { verb: 'get', group: GROUP, resource: 'worldruns', to: 'see runs' },
  { verb: 'create', group: GROUP, resource: 'worldruns', to: 'start runs' },
  { verb: 'get', group: '', resource: 'pods', subresource: 'log', to: 'follow the log of a live run' },
  { verb: 'get', group: RESULTS_GROUP, resource: 'worldruns', subresource: 'log', to: 'read stored logs' },
  { verb: 'get', group: RESULTS_GROUP, resource: 'worldruns', subresource: 'artifacts', to: 'read stored artifacts' },
];

async function rights({ client, namespace, signal }: Session): Promise<Line[]> {
  return Promise.all(
    RIGHTS.map(({ to, ...attributes }) =>
      looked('rights', 'info', async () => {
        const review = { metadata: {}, spec: { resourceAttributes: { namespace, ...attributes } } };
        const { status } = await client.create(SELF_REVIEWS, review, { signal, timeoutMs: CALL_MS });
        return status?.allowed === true
          ? line('rights', 'ok', `you may ${to} in ${namespace}`)
          : line('rights', 'info', `you may not ${to} in ${namespace}`);
      }),
    ),
  );
}

/** Most of them that are asked about one by one. */
const MOST_PROFILES = 20;

/**
 * The right to start runs is worth little without one to a profile; it is granted for the whole cluster or not at all
 * (docs/security.md). Nothing is wrong where the policy that asks for it is off.
 */
async function profileRights({ client, signal }: Session, profiles: readonly RuntimeProfile[]): Promise<Line> {
  return looked('rights', 'info', async () => {
    const named = profiles.flatMap(({ metadata }) => metadata?.name ?? []).slice(0, MOST_PROFILES);
    const asked = [...new Set(['default', ...named])];
    const answers = await Promise.all(
      asked.map(async (name) => {
        const resourceAttributes = { verb: 'use', group: GROUP, resource: 'runtimeprofiles', name };
        const review = { metadata: {}, spec: { resourceAttributes } };
        return (await client.create(SELF_REVIEWS, review, { signal, timeoutMs: CALL_MS })).status?.allowed === true;
      }),
    );
    const may = asked.filter((_, i) => answers[i]);
    if (may.length === 0)
      return line(
        'rights',
        'info',
        'you may use no RuntimeProfile, not even the default one: ask the platform team for the verb “use” (docs/security.md)',
      );
    const words = may.map((name) => (name === 'default' ? 'the default one' : name)).join(', ');
    return line('rights', 'ok', `you may use these RuntimeProfiles: ${words}`);
  });
}

async function gpus({ client, signal }: Session): Promise<Line> {
  return looked('gpus', 'info', async () => {
    const found = new Map<string, number>();
    for await (const node of client.list(NODES, { signal, timeoutMs: CALL_MS })) {
      for (const [name, amount] of gpusOf(node)) found.set(name, (found.get(name) ?? 0) + amount);
    }
    // Nodes may come when a run asks for them.
    if (found.size === 0) return line('gpus', 'info', 'no node offers a GPU at present');
    return line('gpus', 'ok', [...found].map(([name, amount]) => `${amount} × ${name}`).join(', '));
  });
}

const gpusOf = ({ status }: Wire<V1Node>): [string, number][] =>
  Object.entries(status?.allocatable ?? {})
    .filter(([name]) => /(^|[./])gpu$/i.test(name))
    .map(([name, amount]) => [name, Number(amount)]);
