import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { selfSigned } from '../kube/testing/certificates.ts';
import { GatewayClient } from '../results/collector/http.ts';
import type { Apply } from './run/context.ts';
import { planOf } from './run/children.ts';
import { aWorld } from './testing/a-world.ts';
import { storeAuthorities } from './extra-authorities.ts';

const S3 = { store: 's3', 's3-endpoint': 'https://minio.example' } as const;

async function file(text: string): Promise<NodeJS.ProcessEnv> {
  const folder = await mkdtemp(join(tmpdir(), 'worldflux-authorities-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const path = join(folder, 'ca.crt');
  await writeFile(path, text);
  return { NODE_EXTRA_CA_CERTS: path };
}

test('pods trust a private S3 service by the authorities that the operator was given', async () => {
  const own = await selfSigned('minio');
  const server = createServer(own, (request, response) => {
    request.resume().on('end', () => response.end());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/bucket/key`;
  const upload = async (storeCaPem: string | undefined): Promise<number> => {
    const config = { gatewayUrl: 'https://gateway', clientRunId: 'c', attempt: 1, caPem: '', tokenFile: '' };
    const client = new GatewayClient({ ...config, ...(storeCaPem !== undefined && { storeCaPem }) } as never);
    onTestFinished(() => client.close());
    const bytes = [Buffer.from('x')];
    const body = (async function* () {
      yield* bytes;
    })();
    return (await client.put(url, {}, 1, body, AbortSignal.timeout(10_000))).status;
  };
  await expect(upload(undefined)).rejects.toThrow(/self-signed certificate/);
  expect(await upload(await storeAuthorities(S3, await file(own.cert)))).toBe(200);
});

test('every Job carries them to its collector', () => {
  const installation = {
    id: '6f1f6d6e-6f3b-5f0e-9d2b-0c7c3f1f2f57',
    namespace: 'worldflux-system',
    image: 'operator:1',
    gatewayUrl: 'https://gateway:8443',
    caPem: 'PEM',
    storeCaPem: 'OWN',
  };
  const world = aWorld();
  const plan = planOf(world, { installation } as Apply, 1, world.profile!);
  expect(plan.collector).toMatchObject({ caPem: 'PEM', storeCaPem: 'OWN' });
});

test('nothing is handed on where nobody needs it', async () => {
  const env = await file((await selfSigned('x')).cert);
  expect(await storeAuthorities(S3, {})).toBeUndefined();
  expect(await storeAuthorities({ store: 'files', 's3-endpoint': undefined }, env)).toBeUndefined();
  expect(await storeAuthorities({ store: 's3', 's3-endpoint': 'http://minio.example' }, env)).toBeUndefined();
});

test.each([
  ['no certificate', 'hello', /holds no certificate/],
  ['a whole bundle', `-----BEGIN CERTIFICATE-----\n${'x'.repeat(40_000)}`, /name your own authorities alone/],
])('a file with %s is refused by name', async (_, text, words) => {
  await expect(storeAuthorities(S3, await file(text))).rejects.toThrow(words);
});
