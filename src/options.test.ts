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
