import { expect, test } from 'vitest';
import { describeOptions, OptionsError, parseOptions } from './options.ts';

test.each<[string, string[], NodeJS.ProcessEnv, string | undefined]>([
  ['nobody names one', [], {}, undefined],
  ['the variable that every program reads', [], { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://a:4318' }, 'http://a:4318'],
  [
    'our own variable goes before it',
    [],
    { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://a:4318', WORLDFLUX_OTLP_ENDPOINT: 'http://b:4318' },
    'http://b:4318',
  ],
  [
    'the flag goes before both',
    ['--otlp-endpoint', 'http://c:4318'],
    { WORLDFLUX_OTLP_ENDPOINT: 'http://b' },
    'http://c:4318',
  ],
  ['an empty variable is none', [], { WORLDFLUX_OTLP_ENDPOINT: '' }, undefined],
])('where spans go: %s', (_, argv, env, endpoint) => {
  expect(parseOptions(argv, env)['otlp-endpoint']).toBe(endpoint);
});

test('an endpoint that is no HTTP URL is refused by name', () => {
  expect(() => parseOptions(['--otlp-endpoint', 'collector:4318'], {})).toThrow(OptionsError);
  expect(() => parseOptions([], { OTEL_EXPORTER_OTLP_ENDPOINT: 'ftp://a' })).toThrow(/--otlp-endpoint/);
});

test('the help names the other variable too', () => {
  expect(describeOptions()).toContain('(WORLDFLUX_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_ENDPOINT)');
});

test.each<[string, string, string]>([
  ['workers', 'zero', 'a whole number from 1 to 256'],
  ['workers', '1.5', 'a whole number from 1 to 256'],
  ['gateway-port', '70000', 'a port, a whole number from 0 to 65535'],
  ['gateway-url', 'http://gateway:8443', 'an https:// URL'],
  ['s3-endpoint', 'minio:9000', 'an http:// or https:// URL'],
  ['store', 'disk', 'one of files, s3'],
  ['s3-path-style', 'yes', 'true or false'],
  ['cluster-ranges', '10.0.0.0/99', 'ranges with commas between them, such as 10.96.0.0/12,fd00:10::/64'],
  ['installation-id', 'mine', 'a UUID'],
  ['replica-address', 'http://x', 'a host name or an address'],
])('--%s %s is refused with what would be right', (name, value, right) => {
  const variable = `WORLDFLUX_${name.toUpperCase().replaceAll('-', '_')}`;
  const words = `--${name} (${variable}): "${value}" is not ${right}`;
  expect(() => parseOptions([`--${name}`, value], {})).toThrow(words);
  expect(() => parseOptions([], { [variable]: value })).toThrow(words);
});

test('what nobody knows, and what lacks its other half, is refused by name', () => {
  expect(() => parseOptions(['--worker', '3'], {})).toThrow('--worker');
  expect(() => parseOptions(['--store', 's3'], {})).toThrow('--s3-bucket (WORLDFLUX_S3_BUCKET)');
  expect(() => parseOptions(['--context', 'kind'], {})).toThrow('--kubeconfig');
});
