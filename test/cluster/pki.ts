import { createPrivateKey, generateKeyPairSync, type webcrypto } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import 'reflect-metadata'; // @peculiar/x509 refuses to load without it
import * as x509 from '@peculiar/x509';

const ECDSA = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const RSA = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' } as const;
const YEAR_MS = 365 * 24 * 3600 * 1000;

export interface Pem {
  cert: string;
  key: string;
}

export interface Subject {
  commonName: string;
  organizations?: readonly string[];
  /** Server names and addresses; a certificate with none is for clients only. */
  dnsNames?: readonly string[];
  addresses?: readonly string[];
}

/** A certificate authority that lives in two PEM files. */
export class Authority {
  readonly pem: Pem;
  readonly #certificate: x509.X509Certificate;
  readonly #key: webcrypto.CryptoKey;

  private constructor(pem: Pem, certificate: x509.X509Certificate, key: webcrypto.CryptoKey) {
    this.pem = pem;
    this.#certificate = certificate;
    this.#key = key;
  }

  static async create(commonName: string): Promise<Authority> {
    const keys = await crypto.subtle.generateKey(ECDSA, true, ['sign', 'verify']);
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: serial(),
      name: `CN=${commonName}`,
      ...validity(),
      signingAlgorithm: ECDSA,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.digitalSignature, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    return new Authority(
      { cert: certificate.toString('pem'), key: await keyPem(keys.privateKey) },
      certificate,
      keys.privateKey,
    );
  }

  /** Takes ECDSA P-256 keys, which are ours, and RSA keys, which are kubeadm's. */
  static async load(pem: Pem): Promise<Authority> {
    const key = createPrivateKey(pem.key);
    const algorithm = key.asymmetricKeyType === 'rsa' ? RSA : ECDSA;
    const der = key.export({ type: 'pkcs8', format: 'der' });
    const imported = await crypto.subtle.importKey('pkcs8', der, algorithm, true, ['sign']);
    return new Authority(pem, new x509.X509Certificate(pem.cert), imported);
  }

  async issue(subject: Subject): Promise<Pem> {
    const keys = await crypto.subtle.generateKey(ECDSA, true, ['sign', 'verify']);
    const names: x509.JsonGeneralName[] = [
      ...(subject.dnsNames ?? []).map((value) => ({ type: 'dns' as const, value })),
      ...(subject.addresses ?? []).map((value) => ({ type: 'ip' as const, value })),
    ];
    const usage = [x509.ExtendedKeyUsage.clientAuth, ...(names.length > 0 ? [x509.ExtendedKeyUsage.serverAuth] : [])];
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: serial(),
      subject: [{ CN: [subject.commonName] }, ...(subject.organizations ?? []).map((o) => ({ O: [o] }))],
      issuer: this.#certificate.subject,
      ...validity(),
      signingAlgorithm: this.#key.algorithm.name === RSA.name ? RSA : ECDSA,
      signingKey: this.#key,
      publicKey: keys.publicKey,
      extensions: [
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension(usage),
        await x509.AuthorityKeyIdentifierExtension.create(this.#certificate),
        ...(names.length > 0 ? [new x509.SubjectAlternativeNameExtension(names)] : []),
      ],
    });
    return { cert: certificate.toString('pem'), key: await keyPem(keys.privateKey) };
  }
}

/** Writes `<name>.crt` and `<name>.key` below `directory`. */
export async function writePem(directory: string, name: string, pem: Pem): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeFile(join(directory, `${name}.crt`), pem.cert);
  await writeFile(join(directory, `${name}.key`), pem.key, { mode: 0o600 });
}

export async function readPem(directory: string, name: string): Promise<Pem> {
  const [cert, key] = await Promise.all(
    ['crt', 'key'].map((ext) => readFile(join(directory, `${name}.${ext}`), 'utf8')),
  );
  return { cert: cert ?? '', key: key ?? '' };
}

/** The key pair that signs ServiceAccount tokens: `sa.key` and `sa.pub`. */
export async function writeServiceAccountKeys(directory: string): Promise<void> {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  await writeFile(join(directory, 'sa.key'), privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  await writeFile(join(directory, 'sa.pub'), publicKey.export({ type: 'spki', format: 'pem' }));
}

function serial(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[0] = (bytes[0] ?? 0) & 0x7f;
  return Buffer.from(bytes).toString('hex');
}

/** Begins an hour ago: the clocks of a host and of what runs on it may differ by a little. */
function validity(): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(Date.now() - 3600_000), notAfter: new Date(Date.now() + YEAR_MS) };
}

async function keyPem(key: webcrypto.CryptoKey): Promise<string> {
  return x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY');
}
