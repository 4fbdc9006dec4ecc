import { X509Certificate } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { ensureTls } from './tls.ts';

const NAMES = ['gateway.worldflux.svc', '127.0.0.1'];
const DAY = 24 * 3600 * 1000;
const later = (days: number): Date => new Date(Date.now() + days * DAY);

describe('the gateway’s certificates', () => {
  it('are made by an own authority, with the names they serve', async () => {
    const { material, changed } = await ensureTls(undefined, NAMES);
    expect(changed).toBe(true);
    const [ca, leaf] = [new X509Certificate(material.caCertPem), new X509Certificate(material.certPem)];
    expect(ca.ca).toBe(true);
    expect(leaf.ca).toBe(false);
    expect(leaf.checkIssued(ca)).toBe(true);
    expect(leaf.verify(ca.publicKey)).toBe(true);
    expect(leaf.checkHost('gateway.worldflux.svc')).toBeDefined();
    expect(leaf.checkHost('other.svc')).toBeUndefined();
    expect(leaf.checkIP('127.0.0.1')).toBeDefined();
  });

  it('stay while they serve', async () => {
    const { material } = await ensureTls(undefined, NAMES);
    expect(await ensureTls(material, NAMES)).toEqual({ material, changed: false });
    expect((await ensureTls(material, NAMES, later(59))).changed).toBe(false);
  });

  it('are renewed before they run out, under the same authority', async () => {
    const { material } = await ensureTls(undefined, NAMES);
    const renewed = await ensureTls(material, NAMES, later(61));
    expect(renewed.changed).toBe(true);
    expect(renewed.material.caCertPem).toBe(material.caCertPem);
    expect(renewed.material.certPem).not.toBe(material.certPem);
    const old = await ensureTls(material, NAMES, later(3290));
    expect(old.material.caCertPem).not.toBe(material.caCertPem);
  });

  it('are renewed for a new name, for another authority’s certificate, and for a broken text', async () => {
    const { material } = await ensureTls(undefined, NAMES);
    expect((await ensureTls(material, [...NAMES, 'new.svc'])).changed).toBe(true);
    const { material: other } = await ensureTls(undefined, NAMES);
    expect((await ensureTls({ ...material, certPem: other.certPem }, NAMES)).changed).toBe(true);
    expect((await ensureTls({ ...material, caCertPem: 'broken' }, NAMES)).material.caCertPem).not.toBe('broken');
  });
});
