import { expect, test } from 'vitest';
import { parseTrust, userOf } from './front-proxy.ts';

const PEM = '-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n';
const DATA = {
  'requestheader-client-ca-file': PEM,
  'requestheader-allowed-names': '["front-proxy-client"]',
  'requestheader-username-headers': '["X-Remote-User"]',
  'requestheader-group-headers': '["X-Remote-Group"]',
  'requestheader-uid-headers': '["X-Remote-Uid"]',
  'requestheader-extra-headers-prefix': '["X-Remote-Extra-"]',
};

test.each<[string, Record<string, string> | undefined]>([
  ['nothing', undefined],
  ['no authority', { ...DATA, 'requestheader-client-ca-file': '' }],
  ['no header that names users', { ...DATA, 'requestheader-username-headers': '[]' }],
  ['broken JSON', { ...DATA, 'requestheader-username-headers': '[' }],
])('a cluster that says %s gives nobody to believe', (_, data) => {
  expect(parseTrust(data)).toBeUndefined();
});

test('common names keep their capitals, header names are compared without', () => {
  const trust = parseTrust({ ...DATA, 'requestheader-allowed-names': '["Aggregator"]' });
  expect(trust).toMatchObject({ allowedNames: ['Aggregator'], userHeaders: ['x-remote-user'] });
});

test('a user is read with all groups and all values of what else is known of it', () => {
  const headers = {
    'x-remote-user': ['rita'],
    'x-remote-uid': ['u-1'],
    'x-remote-group': ['system:authenticated', 'team-a'],
    'x-remote-extra-scopes': ['read', 'write'],
    'x-remote-extra-example.com%2ftenant': ['a'],
    'x-remote-extra-': ['no key'],
    'x-forwarded-for': ['10.0.0.1'],
  };
  expect(userOf(headers, parseTrust(DATA)!)).toEqual({
    username: 'rita',
    uid: 'u-1',
    groups: ['system:authenticated', 'team-a'],
    extra: { scopes: ['read', 'write'], 'example.com/tenant': ['a'] },
  });
});

test.each([{}, { 'x-remote-user': [''] }, { 'x-remote-group': ['system:masters'] }])('%j names no user', (headers) => {
  expect(userOf(headers, parseTrust(DATA)!)).toBeUndefined();
});
