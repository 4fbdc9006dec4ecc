import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addressKind, rangesOf } from './addresses.ts';

describe('addressKind', () => {
  it.each([
    ['8.8.8.8', 'Public'],
    ['2606:4700::1111', 'Public'],
    ['10.1.2.3', 'Private'],
    ['172.31.255.255', 'Private'],
    ['172.32.0.0', 'Public'],
    ['100.64.0.1', 'Private'],
    ['fd12::1', 'Private'],
    ['127.8.8.8', 'Loopback'],
    ['::1', 'Loopback'],
    ['169.254.1.1', 'LinkLocal'],
    ['fe80::1%eth0', 'LinkLocal'],
    ['169.254.169.254', 'Metadata'],
    ['fd00:ec2::254', 'Metadata'],
    ['100.100.100.200', 'Metadata'],
    ['0.0.0.0', 'Reserved'],
    ['224.0.0.1', 'Reserved'],
    ['2002:7f00:1::', 'Reserved'],
    ['::ffff:10.0.0.1', 'Private'],
    ['::ffff:8.8.8.8', 'Public'],
    ['64:ff9b::a9fe:a9fe', 'Metadata'],
    ['64:ff9b::8.8.4.4', 'Public'],
  ])('%s is %s', (address, kind) => {
    expect(addressKind(address)).toBe(kind);
  });

  it('calls an address in a range of the cluster Cluster, and still knows metadata there', () => {
    const cluster = rangesOf(['34.118.224.0/20', '169.254.0.0/16', 'fd00::/8']);
    expect(addressKind('34.118.230.9', cluster)).toBe('Cluster');
    expect(addressKind('fd00::9', cluster)).toBe('Cluster');
    expect(addressKind('169.254.169.254', cluster)).toBe('Metadata');
    expect(() => rangesOf(['10.0.0.0'])).toThrow('not a range');
  });

  it('judges an IPv4 address the same however IPv6 carries it', () => {
    fc.assert(
      fc.property(fc.ipV4(), (address) => {
        const kind = addressKind(address);
        expect(addressKind(`::ffff:${address}`)).toBe(kind);
        expect(addressKind(`64:ff9b::${address}`)).toBe(kind);
      }),
    );
  });
});
