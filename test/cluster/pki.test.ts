import { createPrivateKey, X509Certificate } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Authority, type Pem } from './pki.ts';

function expectIssuedBy(authority: Pem, issued: Pem): void {
  const ca = new X509Certificate(authority.cert);
  const certificate = new X509Certificate(issued.cert);
  expect(certificate.verify(ca.publicKey)).toBe(true);
  expect(certificate.checkIssued(ca)).toBe(true);
  expect(certificate.checkPrivateKey(createPrivateKey(issued.key))).toBe(true);
}

test('a certificate names its user and groups as Kubernetes reads them', async () => {
  const authority = await Authority.create('test');
  const issued = await authority.issue({ commonName: 'ada', organizations: ['robotics', 'admins'] });
  expectIssuedBy(authority.pem, issued);
  expect(new X509Certificate(issued.cert).subject.split('\n')).toEqual(['CN=ada', 'O=robotics', 'O=admins']);
});

test('a server certificate carries names and addresses', async () => {
  const authority = await Authority.create('test');
  const issued = await authority.issue({
    commonName: 'api',
    dnsNames: ['kubernetes.default.svc'],
    addresses: ['10.96.0.1'],
  });
  const certificate = new X509Certificate(issued.cert);
  expect(certificate.checkHost('kubernetes.default.svc')).toBe('kubernetes.default.svc');
  expect(certificate.checkIP('10.96.0.1')).toBe('10.96.0.1');
});

test('an authority loaded again issues under the same name', async () => {
  const { pem } = await Authority.create('test');
  expectIssuedBy(pem, await (await Authority.load(pem)).issue({ commonName: 'ada' }));
});

test('an authority with an RSA key, as kubeadm makes them, issues too', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'worldflux-pki-'));
  try {
    const [key, cert] = [join(directory, 'ca.key'), join(directory, 'ca.crt')];
    const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=kubernetes', '-days', '1'];
    execFileSync('openssl', [...request, '-keyout', key, '-out', cert], { stdio: 'pipe' });
    const pem = { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') };
    expectIssuedBy(pem, await (await Authority.load(pem)).issue({ commonName: 'ada' }));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
