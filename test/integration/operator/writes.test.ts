import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { JOBS, PODS } from '../../../src/kube/resource.ts';
import { attachCluster, type Cluster } from '../../cluster/index.ts';
import { condition, Kit } from '../../e2e/kit.ts';
import {
  freePort,
  startOperator,
  type OperatorProcess,
  type OperatorProcessOptions,
} from '../../e2e/operator-process.ts';
import { temporaryFolder } from '../../temporary-folder.ts';
import { installCrds } from '../install-crds.ts';
import { PodPlayer } from './pod-player.ts';

/** The operator's writes, counted where nobody can cheat: in the API server's audit log. */

const dir = await temporaryFolder('writes');
let cluster: Cluster;
let kit: Kit;
let pods: PodPlayer;
let operator: OperatorProcess;
let settings: OperatorProcessOptions;

beforeAll(async () => {
  const attached = await attachCluster(inject('cluster'));
  if (attached === undefined) throw new Error('the layer has no cluster');
  cluster = attached;
  await installCrds(cluster);
  kit = await Kit.open(cluster, 'writes');
  await kit.ensureNamespace('worldflux-writes');
  await kit.apply(kit.profile('writes', { image: 'busybox:1', collect: 'Disabled', overrides: { nodes: { max: 2 } } }));
  settings = { cluster, dir, gatewayPort: await freePort(), namespace: 'worldflux-writes' };
  operator = await startOperator(settings);
  pods = new PodPlayer(kit);
  await kit.untilProfile('writes', (p) => condition(p, 'Ready')?.status === 'True');
});
afterAll(async () => {
  await operator?.stop();
  await kit.cluster.kubectl(['delete', 'runtimeprofile', 'writes', '--wait=false']);
  await kit.cluster.kubectl(['delete', 'namespace', 'worldflux-writes', '--wait=false']);
  await kit.close();
});

interface AuditEvent {
  verb: string;
  userAgent?: string;
  requestURI: string;
  stage: string;
  objectRef?: { resource?: string; subresource?: string; name?: string; namespace?: string };
  responseStatus?: { code?: number };
}

const WRITES = new Set(['create', 'update', 'patch', 'delete', 'deletecollection']);

interface Write {
  what: string;
  name: string;
  namespace: string;
}

/** The operator's writes since `mark`, without its leases; `what` is `verb resource/subresource code`. */
async function audited(mark: number): Promise<Write[]> {
  const text = (await readFile(cluster.auditLog!, 'utf8')).slice(mark);
  return text
    .split('\n')
    .filter((line) => line.startsWith('{') && line.endsWith('}'))
    .map((line) => JSON.parse(line) as AuditEvent)
    .filter(
      (event) =>
        event.stage === 'ResponseComplete' &&
        event.userAgent?.startsWith('worldflux-operator/') === true &&
        WRITES.has(event.verb),
    )
    .filter((event) => event.objectRef?.resource !== 'leases')
    .map(({ verb, objectRef = {}, responseStatus }) => ({
      what: `${verb} ${objectRef.resource}${objectRef.subresource === undefined ? '' : `/${objectRef.subresource}`} ${responseStatus?.code}`,
      name: objectRef.name ?? '',
      namespace: objectRef.namespace ?? '',
    }));
}

/** The same, once the status write that `run` shows is among them: the log is written after the answer was sent. */
async function writes(from: number, run: string, patches: number, everywhere = false): Promise<string[]> {
  const until = Date.now() + 10_000;
  for (;;) {
    const all = await audited(from);
    if (
      all.filter((w) => w.name === run && w.what.startsWith('patch worldruns/status')).length >= patches ||
      Date.now() > until
    ) {
      return all.filter((w) => everywhere || w.namespace === kit.namespace).map((w) => w.what);
    }
    await sleep(20);
  }
}
const mark = async (): Promise<number> => (await readFile(cluster.auditLog!, 'utf8')).length;

test('a run on the happy path costs three writes: the Job, running, the end', async () => {
  const from = await mark();
  await kit.apply(kit.shell('happy', 'writes', 'true'));
  await pods.start('happy');
  await kit.until('happy', (r) => condition(r, 'Ready')?.reason === 'Running');
  const row = await kit.cluster.kubectl(['-n', kit.namespace, 'get', 'worldrun', 'happy', '--no-headers']);
  expect(row.split(/\s+/).slice(0, 4)).toEqual(['happy', 'Running', 'Running', 'local']);
  await pods.end('happy', 0);
  await kit.finished('happy');
  expect(await writes(from, 'happy', 2)).toEqual([
    'create jobs 201',
    'patch worldruns/status 200',
    'patch worldruns/status 200',
  ]);
});

test('a run whose pod is over at once costs two', async () => {
  const from = await mark();
  await kit.apply(kit.shell('instant', 'writes', 'true'));
  await pods.end('instant', 0);
  await kit.finished('instant');
  expect(await writes(from, 'instant', 1)).toEqual(['create jobs 201', 'patch worldruns/status 200']);
});

test('settled runs cost nothing: not on a touch, not on a restart', async () => {
  await kit.apply(kit.shell('settled', 'writes', 'true'));
  await pods.end('settled', 0);
  await kit.finished('settled');
  const before = await mark();
  await kit.apply(kit.shell('refused', 'writes', 'true', { image: 'other' }));
  await kit.until('refused', (r) => r.status?.phase === 'Refused');
  await writes(before, 'refused', 1);
  const from = await mark();
  await kit.cluster.kubectl(['-n', kit.namespace, 'annotate', 'worldrun', 'settled', 'refused', 'touched=yes']);
  await operator.stop();
  operator = await startOperator(settings);
  // A run that comes after and goes all the way shows that everything before it was looked at.
  await kit.apply(kit.shell('behind', 'writes', 'true'));
  await pods.end('behind', 0);
  await kit.finished('behind');
  expect(await writes(from, 'behind', 1, true)).toEqual(['create jobs 201', 'patch worldruns/status 200']);
});

test('a live run that nothing happens to costs nothing', async () => {
  const before = await mark();
  await kit.apply(kit.shell('quiet', 'writes', 'true'));
  await pods.start('quiet');
  await kit.until('quiet', (r) => condition(r, 'Ready')?.reason === 'Running');
  await writes(before, 'quiet', 1);
  const from = await mark();
  // Nothing is what is awaited: there is no condition for it.
  await sleep(15_000);
  expect(await audited(from)).toEqual([]);
  await pods.end('quiet', 0);
  await kit.finished('quiet');
});

test('a status edited by hand is put right, and starts nothing', async () => {
  await kit.apply(kit.shell('edited', 'writes', 'true'));
  await pods.start('edited');
  await kit.until('edited', (r) => condition(r, 'Ready')?.reason === 'Running');
  await kit.cluster.kubectl([
    '-n',
    kit.namespace,
    'patch',
    'worldrun',
    'edited',
    '--subresource=status',
    '--type=merge',
    '-p',
    '{"status":{"phase":"Pending","conditions":[],"attempts":[]}}',
  ]);
  await kit.until('edited', (r) => condition(r, 'Ready')?.reason === 'Running' && r.status?.attempts?.length === 1);
  let jobs = 0;
  for await (const job of kit.client.list(JOBS, { namespace: kit.namespace }))
    jobs += Number(job.metadata?.labels?.['worldflux.ai/run'] === 'edited');
  expect(jobs).toBe(1);
  await pods.end('edited', 0);
  expect((await kit.finished('edited')).status).toMatchObject({ phase: 'Succeeded', attemptCount: 1 });
});

test('a finished run makes no event, a failed one makes one', async () => {
  await kit.apply(kit.shell('failing', 'writes', 'false'));
  await pods.end('failing', 2);
  await kit.finished('failing');
  const events = await kit.cluster.kubectl([
    '-n',
    kit.namespace,
    'get',
    'events',
    '-o',
    'jsonpath={range .items[?(@.involvedObject.kind=="WorldRun")]}{.involvedObject.name}={.reason} {end}',
  ]);
  expect(events.trim().split(' ')).toEqual(['failing=NonZeroExit']);
  for await (const pod of kit.client.list(PODS, {
    namespace: kit.namespace,
    labelSelector: 'worldflux.ai/run=failing',
  }))
    expect(pod.status?.phase).toBe('Failed');
});
