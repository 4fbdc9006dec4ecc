import { webcrypto, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import 'reflect-metadata'; // @peculiar/x509 refuses to load without it
import * as x509 from '@peculiar/x509';

/** PEM texts, as a Secret keeps them. */
export interface Authority {
  caCertPem: string;
  caKeyPem: string;
}

export interface ServingMaterial {
  certPem: string;
  keyPem: string;
}

export type TlsMaterial = Authority & ServingMaterial;

const ECDSA = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY = 24 * 3600 * 1000;
/** Clocks of nodes differ; a certificate must be good for one that is behind. */
const BACKDATED = DAY;
/** A pod trusts the CA it was started with for as long as it lives, so the CA outlives every run by far. */
const AUTHORITY_LIFETIME = 3650 * DAY;
const AUTHORITY_RENEWAL = 365 * DAY;
const SERVING_LIFETIME = 90 * DAY;
const SERVING_RENEWAL = 30 * DAY;

/**
 * The gateway's certificates: what is kept when it still serves, made new where it is missing, broken, runs out or lacks
 * a name. `changed` says that there is something to keep.
 */
export async function ensureTls(
  kept: Partial<TlsMaterial> | undefined,
  names: readonly string[],
  now: Date = new Date(),
): Promise<{ material: TlsMaterial; changed: boolean }> {
  const authority = usableAuthority(kept, now);
  if (authority !== undefined) {
    const serving = usableServing(kept, authority, names, now);
    if (serving !== undefined) return { material: { ...authority, ...serving }, changed: false };
  }
  const signer = authority ?? (await makeAuthority(now));
  return { material: { ...signer, ...(await makeServing(signer, names, now)) }, changed: true };
}

async function makeAuthority(now: Date): Promise<Authority> {
  const keys = await webcrypto.subtle.generateKey(ECDSA, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...validity(now, AUTHORITY_LIFETIME),
    name: 'CN=worldflux-operator results CA',
    keys,
    signingAlgorithm: ECDSA,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { caCertPem: certificate.toString('pem'), caKeyPem: await keyPem(keys.privateKey) };
}

async function makeServing(authority: Authority, names: readonly string[], now: Date): Promise<ServingMaterial> {
  const issuer = new x509.X509Certificate(authority.caCertPem);
  const keys = await webcrypto.subtle.generateKey(ECDSA, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.create({
    ...validity(now, SERVING_LIFETIME),
    subject: 'CN=worldflux-operator results gateway',
    issuer: issuer.subject,
    publicKey: keys.publicKey,
    signingKey: await signingKey(authority.caKeyPem),
    signingAlgorithm: ECDSA,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(
        names.map((name) => ({ type: isIP(name) === 0 ? ('dns' as const) : ('ip' as const), value: name })),
      ),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
    ],
  });
  return { certPem: certificate.toString('pem'), keyPem: await keyPem(keys.privateKey) };
}

function usableAuthority(kept: Partial<TlsMaterial> | undefined, now: Date): Authority | undefined {
  if (kept?.caCertPem === undefined || kept.caKeyPem === undefined) return undefined;
  const certificate = parsed(kept.caCertPem);
  if (certificate === undefined || !lasts(certificate, now, AUTHORITY_RENEWAL)) return undefined;
  return { caCertPem: kept.caCertPem, caKeyPem: kept.caKeyPem };
}

function usableServing(
  kept: Partial<TlsMaterial> | undefined,
  authority: Authority,
  names: readonly string[],
  now: Date,
): ServingMaterial | undefined {
  if (kept?.certPem === undefined || kept.keyPem === undefined) return undefined;
  const certificate = parsed(kept.certPem);
  const issuer = parsed(authority.caCertPem);
  if (certificate === undefined || issuer === undefined || !lasts(certificate, now, SERVING_RENEWAL)) return undefined;
  const serves = (name: string): boolean =>
    (isIP(name) === 0 ? certificate.checkHost(name) : certificate.checkIP(name)) !== undefined;
  if (!names.every(serves) || !certificate.verify(issuer.publicKey)) return undefined;
  return { certPem: kept.certPem, keyPem: kept.keyPem };
}

function validity(now: Date, lifetime: number): { notBefore: Date; notAfter: Date; serialNumber: string } {
  const serial = webcrypto.getRandomValues(new Uint8Array(16));
  // Positive, whatever the library makes of the first bit.
  serial[0] = (serial[0] ?? 0) & 0x7f;
  return {
    notBefore: new Date(now.getTime() - BACKDATED),
    notAfter: new Date(now.getTime() + lifetime),
    serialNumber: Buffer.from(serial).toString('hex'),
  };
}

function lasts(certificate: X509Certificate, now: Date, margin: number): boolean {
  return certificate.validFromDate <= now && certificate.validToDate.getTime() - now.getTime() > margin;
}

function parsed(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined;
  }
}

async function keyPem(key: webcrypto.CryptoKey): Promise<string> {
  return x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY');
}

async function signingKey(pem: string): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey('pkcs8', x509.PemConverter.decodeFirst(pem), ECDSA, false, ['sign']);
}
