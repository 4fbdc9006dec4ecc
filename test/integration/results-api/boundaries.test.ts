import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { WORLD_RUNS } from '../../../src/controller/run/view.ts';
import { NAMESPACES } from '../../../src/kube/resource.ts';
import { resultsPath } from '../../../src/results/api/protocol.ts';
import { Authority, readPem, type Pem } from '../../cluster/pki.ts';
import { fileStore } from '../results/stores.ts';
import type { StoreUnderTest } from '../results/store-conformance.ts';
import { createRun, finishRun, writeStatus } from './finished-run.ts';
import { Served } from './served.ts';

/** What must not be read, and by whom not. */

const SECRET = 'what team a alone may read\n';
let under: StoreUnderTest;
let served: Served;
let namespace: string;
let run: { namespace: string; name: string };

beforeAll(async () => {
  under = await fileStore();
  served = await Served.start(under.store);
  namespace = await served.namespace();
  run = { namespace, name: 'private' };
  const left = { log: SECRET, artifacts: { 'a.txt': Buffer.from(SECRET) } };
  await finishRun(served.client, under.store, await createRun(served.client, run), left);
});
afterAll(async () => {
  await served?.stop();
  await under?.stop();
});

describe('through the API server', () => {
  test('a reader of another namespace is refused every part', async () => {
    const other = await served.reader('otto', await served.namespace());
    for (const part of ['log', 'manifest', 'artifacts', 'events'] as const)
      await expect(other.read(run, part)).rejects.toThrow(/otto.* cannot get resource .worldruns/);
    await expect(other.read(run, 'artifacts', { name: 'a' })).rejects.toThrow(/cannot get/);
  });

  test('a reader of the log is refused the artifacts', async () => {
    const lena = await served.reader('lena', namespace, 'log');
    expect(await lena.read(run, 'log')).toBe(SECRET);
    await expect(lena.read(run, 'artifacts')).rejects.toThrow(/cannot get/);
  });

  test('a ServiceAccount reads with its token, and nobody with another', async () => {
    const robot = await served.account(namespace);
    expect(await robot.read(run, 'log')).toBe(SECRET);
    const forged = await served.account(namespace, 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.');
    await expect(forged.read(run, 'log')).rejects.toThrow(/Unauthorized|logged in/);
  });

  test('names of other users in the headers change nothing', async () => {
    const outsider = await served.reader('olga', await served.namespace());
    const kubeconfig = parse(await readFile(outsider.kubeconfig, 'utf8')) as {
      users: { user: { 'client-certificate-data': string; 'client-key-data': string } }[];
    };
    const { user } = kubeconfig.users[0]!;
    const pem = {
      cert: Buffer.from(user['client-certificate-data'], 'base64').toString(),
      key: Buffer.from(user['client-key-data'], 'base64').toString(),
    };
    const ca = await readFile(served.cluster.caFile, 'utf8');
    const answer = await ask(served.cluster.apiServer, { ca, ...pem }, FORGED);
    expect(answer.status).toBe(403);
    expect(answer.body).toContain('olga');
  });
});

const FORGED = { 'x-remote-user': 'admin', 'x-remote-group': 'system:masters' };

async function ask(
  origin: string,
  connect: { ca?: string; rejectUnauthorized?: boolean; cert?: string; key?: string },
  headers: Record<string, string | string[]>,
  part: 'log' | 'artifacts' = 'log',
): Promise<{ status: number; body: string; headers: Record<string, unknown> }> {
  const agent = new Agent({ connect });
  try {
    const {
      statusCode: status,
      body,
      headers: got,
    } = await request(origin + resultsPath(run, part, part === 'artifacts' ? { name: 'a' } : {}), {
      dispatcher: agent,
      headers,
      signal: AbortSignal.timeout(20_000),
    });
    return { status, body: await body.text(), headers: got };
  } finally {
    await agent.destroy();
  }
}

/** At the operator's port, past the API server. */
const direct = (pem: Partial<Pem>, headers: Record<string, string | string[]> = FORGED, part?: 'log' | 'artifacts') =>
  ask(`https://localhost:${served.port}`, { ...pem, rejectUnauthorized: false }, headers, part);
const pki = (name: string) => readPem(join(served.cluster.dir, 'pki'), name);

describe('at the operator’s own port', () => {
  test('nobody is believed without the front proxy’s certificate', async () => {
    const strangers: Partial<Pem>[] = [
      {},
      // The cluster’s own administrator, by an authority that is not the front proxy’s.
      await pki('admin'),
      // The right name by an authority of one’s own.
      await (await Authority.create('worldflux-test-front-proxy')).issue({ commonName: 'front-proxy-client' }),
      // The right authority, another name.
      await (await Authority.load(await pki('front-proxy-ca'))).issue({ commonName: 'somebody-else' }),
    ];
    for (const stranger of strangers) {
      const { status, body } = await direct(stranger);
      expect(status).toBe(401);
      expect(body).not.toContain(SECRET.trim());
    }
  });

  test('the front proxy is believed, and the user that it names is asked about once more', async () => {
    const proxy = await pki('front-proxy');
    expect(await direct(proxy)).toMatchObject({ status: 200, body: SECRET });
    const stranger = await direct(proxy, { 'x-remote-user': 'nobody', 'x-remote-group': 'system:authenticated' });
    expect(stranger.status).toBe(403);
    expect(stranger.body).toContain('User \\"nobody\\" cannot get worldruns/log');
    expect((await direct(proxy, {})).status).toBe(401);
  });

  test('a part of an artifact is read by its range', async () => {
    const proxy = await pki('front-proxy');
    const part = await direct(proxy, { ...FORGED, range: 'bytes=5-8' }, 'artifacts');
    expect(part).toMatchObject({ status: 206, body: SECRET.slice(5, 9) });
    expect(part.headers).toMatchObject({
      'content-range': `bytes 5-8/${SECRET.length}`,
      'content-disposition': 'attachment; filename="a.txt"',
      'x-content-type-options': 'nosniff',
    });
    expect((await direct(proxy, { ...FORGED, range: 'bytes=900-' }, 'artifacts')).status).toBe(416);
  });
});

describe('a run that is gone', () => {
  test('takes its results out of reach, and its successor of the same name does not show them', async () => {
    const ref = { namespace, name: 'again' };
    const reader = await served.reader('gustav', namespace);
    const left = { log: SECRET, events: [{ message: SECRET }] };
    await finishRun(served.client, under.store, await createRun(served.client, ref), left);
    expect(await reader.read(ref, 'log')).toBe(SECRET);
    expect(await reader.read(ref, 'events')).toContain(SECRET.trim());

    await served.client.delete(WORLD_RUNS, ref);
    await expect(reader.read(ref, 'log')).rejects.toThrow(/"again" not found/);

    await createRun(served.client, ref);
    await expect(reader.read(ref, 'log')).rejects.toThrow(/nothing is stored/);
    await expect(reader.read(ref, 'manifest')).rejects.toThrow(/no manifest yet/);
    expect(JSON.parse(await reader.read(ref, 'artifacts'))).toMatchObject({ items: [] });
    expect(await reader.read(ref, 'events')).toBe('');
  });

  test('with a runKey shows its record to a successor only once that has adopted it', async () => {
    const reader = await served.reader('klara', namespace);
    const first = { namespace, name: 'keyed-1' };
    const spec = { runKey: 'seed-7' };
    const done = await finishRun(served.client, under.store, await createRun(served.client, first, spec), {
      log: SECRET,
    });
    await served.client.delete(WORLD_RUNS, first);
    const second = { namespace, name: 'keyed-2' };
    const successor = await createRun(served.client, second, spec);
    await expect(reader.read(second, 'log')).rejects.toThrow(/nothing is stored/);
    const conditions = done.status!.conditions!.map((c) => ({ ...c, reason: 'AlreadyRecorded' }));
    await writeStatus(served.client, successor, { ...done.status, conditions });
    expect(await reader.read(second, 'log')).toBe(SECRET);
  });

  test('with its whole namespace: the next owner of that name sees nothing of it', async () => {
    const name = await served.namespace();
    const ref = { namespace: name, name: 'private' };
    const left = { log: SECRET, artifacts: { 'a.txt': Buffer.from(SECRET) } };
    await finishRun(served.client, under.store, await createRun(served.client, ref), left);
    await served.admin.kubectl('delete', 'namespace', name, '--timeout=90s');
    await served.client.create(NAMESPACES, { metadata: { name } });
    const owner = await served.reader('nora', name);
    await expect(owner.read(ref, 'log')).rejects.toThrow(/not found/);
    await createRun(served.client, ref);
    await expect(owner.read(ref, 'log')).rejects.toThrow(/nothing is stored/);
    await expect(owner.read(ref, 'artifacts', { name: 'a' })).rejects.toThrow(/has no artifact a/);
  });
});

test('a status that points into another run’s results leads nowhere', async () => {
  const victim = await served.client.get(WORLD_RUNS, run);
  const ref = { namespace: await served.namespace(), name: 'thief' };
  const thief = await createRun(served.client, ref);
  const { clientRunId: _, ...stolen } = victim.status!;
  await writeStatus(served.client, thief, { ...stolen, clientRunId: victim.status!.clientRunId! });
  const reader = await served.reader('theo', ref.namespace);
  await expect(reader.read(ref, 'log')).rejects.toThrow(/nothing is stored/);
  await expect(reader.read(ref, 'artifacts', { name: 'a' })).rejects.toThrow(
    /artifact a is Failed: its bytes are not this run’s/,
  );
});

test('a name is nothing but a name', async () => {
  for (const path of ['..%2f..%2fdefault', '%2e%2e', 'a%00b', 'A']) {
    const url = `/apis/results.worldflux.ai/v1alpha1/namespaces/${namespace}/worldruns/${path}/log`;
    await expect(served.admin.kubectl('get', '--raw', url)).rejects.toThrow(/could not find|NotFound|not found/i);
  }
});
