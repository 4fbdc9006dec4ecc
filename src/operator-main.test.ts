import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { secretsOf } from './operator-main.ts';

test('what a library reads by itself from the environment is known as a secret, in every form that may be said', () => {
  const env = {
    AWS_SECRET_ACCESS_KEY: 'aws-secret',
    OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20span-token,x-tenant=ten%ant',
    PATH: '/bin',
  };
  const found = secretsOf(env);
  expect(found).toEqual(
    expect.arrayContaining(['aws-secret', 'Bearer%20span-token', 'Bearer span-token', 'span-token']),
  );
  expect(found).toContain('ten%ant');
  expect(found).not.toContain('/bin');
  expect(secretsOf({})).toEqual([]);
});

test('a proxy that will not be used is said at start, by its variable and without its address', () => {
  const main = join(import.meta.dirname, 'main.ts');
  // It ends at once: there is no such kubeconfig.
  const { stdout } = spawnSync(process.execPath, [main, 'operator', '--kubeconfig', '/nowhere/config'], {
    env: { ...process.env, HTTPS_PROXY: 'http://user:pa55word@proxy:3128' },
    encoding: 'utf8',
    timeout: 60_000,
  });
  const warnings = stdout.split('\n').filter((line) => line.includes('outgoing proxies are not used'));
  expect(warnings).toEqual([expect.stringContaining('"HTTPS_PROXY"')]);
  expect(stdout).not.toContain('pa55word');
});
