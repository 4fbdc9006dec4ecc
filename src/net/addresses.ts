import { BlockList, isIP } from 'node:net';

/** What kind of place an IP address is, for deciding whether to connect to it. */
export type AddressKind =
  /** Anybody's internet. */
  | 'Public'
  /** RFC 1918, unique local, carrier-grade NAT. */
  | 'Private'
  | 'Loopback'
  /** Link-local: where clouds answer with instance credentials. */
  | 'LinkLocal'
  /** Instance metadata outside the link-local ranges. */
  | 'Metadata'
  /** Inside a range that the caller named as its cluster's. */
  | 'Cluster'
  /** Nothing that one connects to: multicast, documentation, unspecified, tunnels that hide another address. */
  | 'Reserved';

const RANGES: [Exclude<AddressKind, 'Public' | 'Cluster'>, string[]][] = [
  // Before the ranges that contain them.
  [
    'Metadata',
    [
      '169.254.169.254/32',
      '100.100.100.200/32',
      '168.63.129.16/32',
      '192.0.0.192/32',
      'fd00:ec2::254/128',
      'fd20:ce::254/128',
    ],
  ],
  ['Loopback', ['127.0.0.0/8', '::1/128']],
  ['LinkLocal', ['169.254.0.0/16', 'fe80::/10']],
  ['Private', ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', 'fc00::/7', 'fec0::/10']],
  // Teredo, 6to4 and local NAT64 are here because they carry an IPv4 address that these lists would not see.
  [
    'Reserved',
    (
      '0.0.0.0/8 192.0.0.0/24 192.0.2.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 ' +
      '::/128 ff00::/8 100::/64 2001::/32 2001:db8::/32 2002::/16 64:ff9b:1::/48'
    ).split(' '),
  ],
];

function listOf(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const [address = '', prefix] = range.split('/');
    const version = isIP(address);
    if (version === 0 || prefix === undefined) throw new TypeError(`${range} is not a range such as 10.96.0.0/12`);
    list.addSubnet(address, Number(prefix), version === 4 ? 'ipv4' : 'ipv6');
  }
  return list;
}

const KINDS = RANGES.map(([kind, ranges]) => [kind, listOf(ranges)] as const);
const NAT64 = listOf(['64:ff9b::/96']);
const MAPPED = listOf(['::ffff:0:0/96']);

/** A test of addresses against the caller's own ranges (pods, services, nodes), as `10.96.0.0/12`. */
export function rangesOf(ranges: readonly string[]): (address: string) => boolean {
  const list = listOf(ranges);
  return (address) => list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
}

/** The IPv4 address in the last 32 bits of an IPv6 address. */
function embeddedIPv4(address: string): string {
  // The URL parser writes an IPv6 host in its one canonical form: hexadecimal groups, one `::` at most.
  const canonical = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const [head = '', tail] = canonical.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? [] : Array.from({ length: 8 - left.length - right.length }, () => '0');
  const groups = [...left, ...zeros, ...right].map((group) => Number.parseInt(group, 16));
  const [high = 0, low = 0] = groups.slice(-2);
  return [high >> 8, high & 255, low >> 8, low & 255].join('.');
}

/** Throws a TypeError for what is not an IP address. An IPv6 zone (`fe80::1%eth0`) is ignored. */
export function addressKind(address: string, isCluster: (address: string) => boolean = () => false): AddressKind {
  const plain = address.split('%')[0] ?? '';
  const version = isIP(plain);
  if (version === 0) throw new TypeError(`${address} is not an IP address`);
  const family = version === 4 ? 'ipv4' : 'ipv6';
  if (family === 'ipv6' && (NAT64.check(plain, family) || MAPPED.check(plain, family))) {
    return addressKind(embeddedIPv4(plain), isCluster);
  }
  // Metadata and link-local first: a cluster range must not soften them.
  const found = KINDS.find(([, list]) => list.check(plain, family))?.[0];
  if (found === 'Metadata' || found === 'LinkLocal' || found === 'Reserved') return found;
  if (isCluster(plain)) return 'Cluster';
  return found ?? 'Public';
}
