import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { stringify } from 'yaml';
import { loadClusterConfig, loadKubeconfigs } from './config.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kubeconfig-'));
});
afterEach(() => {
  rmSync(dir, { recursive: true });
  vi.unstubAllEnvs();
});

const nowhere = () => ({ host: undefined, port: undefined, serviceAccountDir: join(dir, 'none') });

function kubeconfig(user: object = { token: 't' }, cluster: object = {}): string {
  const file = join(dir, 'config');
  const config = {
    'current-context': 'first',
    contexts: [
      { name: 'first', context: { cluster: 'c1', user: 'u1', namespace: 'team-a' } },
      { name: 'second', context: { cluster: 'c2', user: 'u1' } },
    ],
    clusters: [
      { name: 'c1', cluster: { server: 'https://one.example:6443/', 'certificate-authority': 'ca.crt', ...cluster } },
      { name: 'c2', cluster: { server: 'https://two.example' } },
    ],
    users: [{ name: 'u1', user }],
  };
  writeFileSync(file, stringify(config));
  return file;
}

describe('a kubeconfig that was named', () => {
  test('is used with its current context, and paths in it are relative to it', () => {
    const file = kubeconfig({ 'client-certificate': 'pki/me.crt', 'client-key': '/abs/me.key', tokenFile: 'token' });
    expect(loadClusterConfig({ file }, nowhere())).toMatchObject({
      cluster: { server: 'https://one.example:6443', caFile: join(dir, 'ca.crt') },
      user: { certFile: join(dir, 'pki/me.crt'), keyFile: '/abs/me.key' },
      tokenFile: join(dir, 'token'),
      namespace: 'team-a',
      origin: `context first of ${file}`,
    });
  });

  test('is used with the context that was named', () => {
    expect(loadClusterConfig({ file: kubeconfig(), context: 'second' }, nowhere())).toMatchObject({
      cluster: { server: 'https://two.example' },
      user: { token: 't' },
    });
  });

  test('has no such context: the message lists those it has', () => {
    expect(() => loadClusterConfig({ file: kubeconfig(), context: 'third' }, nowhere())).toThrow(
      'has no context third; it has: first, second',
    );
  });

  test.each([
    ['an auth-provider', { 'auth-provider': { name: 'oidc' } }, {}, 'exec credential plugin'],
    ['a password', { username: 'me', password: 'x' }, {}, 'password'],
    ['a proxy', { token: 't' }, { 'proxy-url': 'http://proxy:3128' }, 'proxy-url'],
  ])('asks for %s, which is refused by name', (_, user, cluster, message) => {
    expect(() => loadClusterConfig({ file: kubeconfig(user, cluster) }, nowhere())).toThrow(message);
  });

  test('is missing, or is something else', () => {
    expect(() => loadClusterConfig({ file: join(dir, 'absent') }, nowhere())).toThrow('cannot read kubeconfig');
    writeFileSync(join(dir, 'text'), 'just text');
    expect(() => loadClusterConfig({ file: join(dir, 'text') }, nowhere())).toThrow('is not a kubeconfig');
    writeFileSync(join(dir, 'broken'), 'current-context: x\ncontexts: [{context: {}}]');
    expect(() => loadClusterConfig({ file: join(dir, 'broken') }, nowhere())).toThrow(
      /broken: contexts\[0\].name is missing/,
    );
  });
});

describe('without a kubeconfig', () => {
  test("the Pod's service account is used", () => {
    writeFileSync(join(dir, 'token'), 'sa');
    writeFileSync(join(dir, 'namespace'), 'worldflux\n');
    const pod = { host: 'fd00::1', port: '443', serviceAccountDir: dir };
    expect(loadClusterConfig({}, pod)).toEqual({
      cluster: {
        name: 'in-cluster',
        server: 'https://[fd00::1]:443',
        caFile: join(dir, 'ca.crt'),
        skipTLSVerify: false,
      },
      user: { name: 'service-account' },
      tokenFile: join(dir, 'token'),
      namespace: 'worldflux',
      origin: "the Pod's service account",
    });
    expect(() => loadClusterConfig({ file: kubeconfig(), inCluster: true }, pod)).toThrow('not both');
  });

  test("the user's own current context is never taken silently", () => {
    vi.stubEnv('KUBECONFIG', kubeconfig());
    vi.stubEnv('HOME', dir);
    expect(() => loadClusterConfig({}, nowhere())).toThrow('pass a kubeconfig file');
    expect(() => loadClusterConfig({ inCluster: true }, nowhere())).toThrow('pass a kubeconfig file');
    expect(() => loadClusterConfig({ context: 'first' }, nowhere())).toThrow('name the file as well');
  });
});

const write = (name: string, config: object) => {
  const folder = join(dir, name);
  mkdirSync(folder);
  writeFileSync(join(folder, 'config'), stringify(config));
  return join(folder, 'config');
};

describe('several kubeconfigs, as $KUBECONFIG lists them', () => {
  test('are one: the first that names something wins, and paths belong to the file they stand in', () => {
    const users = write('users', {
      users: [{ name: 'u1', user: { 'client-certificate': 'me.crt', 'client-key': 'me.key' } }],
    });
    const clusters = write('clusters', {
      'current-context': 'first',
      contexts: [{ name: 'first', context: { cluster: 'c1', user: 'u1' } }],
      clusters: [{ name: 'c1', cluster: { server: 'https://one.example', 'certificate-authority': 'ca.crt' } }],
    });
    const later = kubeconfig();
    expect(loadKubeconfigs([users, join(dir, 'missing'), clusters, later])).toMatchObject({
      cluster: { server: 'https://one.example', caFile: join(dir, 'clusters', 'ca.crt') },
      user: { certFile: join(dir, 'users', 'me.crt') },
    });
    expect(loadKubeconfigs([users, clusters, later], 'second').cluster.server).toBe('https://two.example');
  });

  test('that do not exist are named', () => {
    expect(() => loadKubeconfigs([join(dir, 'a'), join(dir, 'b')])).toThrow(
      `there is no kubeconfig at ${join(dir, 'a')} or ${join(dir, 'b')}`,
    );
  });
});
