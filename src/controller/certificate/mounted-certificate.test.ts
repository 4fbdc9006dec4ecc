import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ensureTls, type ServingMaterial, type TlsMaterial } from '../../results/gateway/tls.ts';
import { MountedCertificate } from './mounted-certificate.ts';

const HOST = 'worldflux-operator-gateway.worldflux-system.svc';
const DAY = 24 * 3600 * 1000;
let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'worldflux-mounted-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const issue = async (now = new Date()): Promise<TlsMaterial> => (await ensureTls(undefined, [HOST], now)).material;

async function mount(files: Partial<Record<'tls.crt' | 'tls.key' | 'ca.crt', string>>): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    await writeFile(join(directory, 'draft'), text);
    await rename(join(directory, 'draft'), join(directory, name));
  }
}

const mountAll = ({ certPem, keyPem, caCertPem }: TlsMaterial): Promise<void> =>
  mount({ 'ca.crt': caCertPem, 'tls.key': keyPem, 'tls.crt': certPem });

test('what is mounted serves', async () => {
  const material = await issue();
  await mountAll(material);
  const certificate = await MountedCertificate.read(directory, [HOST]);
  expect(certificate.caPem).toBe(material.caCertPem);
  expect(certificate.serving).toEqual({ certPem: material.certPem, keyPem: material.keyPem });
});

describe('refused, with the name of the file:', () => {
  test.each([
    ['an issuer that leaves ca.crt empty', async () => mount({ 'ca.crt': '' }), /ca\.crt holds no certificate/],
    [
      'the key of another certificate',
      async () => mount({ 'tls.key': (await issue()).keyPem }),
      /tls\.key is not the key/,
    ],
    ['an expired one', async () => mountAll(await issue(new Date(Date.now() - 100 * DAY))), /tls\.crt has expired/],
    ['no file', async () => rm(join(directory, 'tls.crt')), /tls\.crt/],
  ])('%s', async (_, spoil, message) => {
    await mountAll(await issue());
    await spoil();
    await expect(MountedCertificate.read(directory, [HOST])).rejects.toThrow(message);
  });

  test('a name that it does not serve', async () => {
    await mountAll(await issue());
    await expect(MountedCertificate.read(directory, [HOST, 'elsewhere.svc'])).rejects.toThrow(
      'does not name elsewhere.svc',
    );
  });
});

test('a renewed one is handed over; a broken one in between changes nothing', async () => {
  const first = await issue();
  await mountAll(first);
  const certificate = await MountedCertificate.read(directory, [HOST]);
  const second = await issue();
  const seen: { error: unknown; served: string }[] = [];
  const renewed = new Promise<ServingMaterial>((resolve) => {
    const onError = (error: unknown): void => {
      seen.push({ error, served: certificate.serving.certPem });
      // Half of the exchange is seen first; the other half follows.
      if (seen.length === 1) void mountAll(second);
    };
    certificate.keepRenewed(resolve, onError, 5);
  });
  await mount({ 'tls.crt': second.certPem });
  expect(await renewed).toEqual({ certPem: second.certPem, keyPem: second.keyPem });
  certificate.stop();
  expect(certificate.caPem).toBe(second.caCertPem);
  expect(String(seen[0]?.error)).toContain('tls.key is not the key of tls.crt');
  expect(seen[0]?.served).toBe(first.certPem);
});
