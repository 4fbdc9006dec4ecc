import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, onTestFinished, test } from 'vitest';
import { startCluster } from '../cluster/index.ts';
import { clusterDir } from '../cluster/paths.ts';
import { identify, isAlive, until } from '../cluster/process.ts';
import { usesKind } from '../cluster/provider.ts';
import { readState } from '../cluster/state.ts';

/** A process that starts a cluster of this name, says so, and stays. */
function owner(name: string): string {
  const index = join(import.meta.dirname, '../cluster/index.ts');
  return `
    const { startCluster } = await import(${JSON.stringify(index)});
    await startCluster({ name: ${JSON.stringify(name)}, kind: 'api' });
    console.log('up');
    await new Promise((resolve) => setTimeout(resolve, 600_000));`;
}

test.skipIf(usesKind)(
  'a cluster whose owner is killed ends with it, and the next start clears up after it',
  async () => {
    const name = `killed-${process.pid}`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', owner(name)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => {
      child.kill('SIGKILL');
    });
    await once(createInterface(child.stdout), 'line');
    const processes = Object.values(readState(name)?.processes ?? {});
    expect(processes).toHaveLength(3);
    expect(processes.every(isAlive)).toBe(true);

    child.kill('SIGKILL');
    await until('the components to end', () => (processes.some(isAlive) ? undefined : true), { timeoutMs: 10_000 });
    expect(existsSync(clusterDir(name))).toBe(true);

    const other = await startCluster({ name: `${name}-next`, kind: 'api' });
    onTestFinished(() => other.down());
    expect(existsSync(clusterDir(name))).toBe(false);
  },
);

const startPart = (part: string): ReturnType<typeof startCluster> =>
  startCluster({ name: `pair-${part}-${process.pid}`, kind: 'api' });

test.skipIf(usesKind)('two clusters stand side by side, and what one is told the other does not know', async () => {
  const [one, two] = await Promise.all([startPart('one'), startPart('two')]);
  onTestFinished(async () => {
    await Promise.all([one.down(), two.down()]);
  });
  await one.kubectl(['create', 'namespace', 'only-here']);
  const names = await Promise.all([one, two].map((cluster) => cluster.kubectl(['get', 'namespaces', '-o', 'name'])));
  expect(names[0]).toContain('only-here');
  expect(names[1]).not.toContain('only-here');

  const pids = Object.values(one.pids).map(identify);
  await one.down();
  expect(pids.some(isAlive)).toBe(false);
  expect(existsSync(one.dir)).toBe(false);
  expect(await two.kubectl(['get', '--raw', '/readyz'])).toBe('ok');
});

test.skipIf(usesKind)('a user gets the rights of a binding and no others', async () => {
  const cluster = await startCluster({ name: `user-${process.pid}`, kind: 'api' });
  onTestFinished(() => cluster.down());
  const kubeconfig = await cluster.userKubeconfig({ name: 'ada', groups: ['robotics'] });
  const asAda = (...args: string[]): Promise<string> => cluster.kubectl([`--kubeconfig=${kubeconfig}`, ...args]);
  await expect(asAda('get', 'pods')).rejects.toThrow('User "ada" cannot list resource "pods"');
  await cluster.kubectl(['create', 'rolebinding', 'robotics', '--clusterrole=view', '--group=robotics']);
  await until(
    'the binding to count',
    () =>
      asAda('get', 'pods').then(
        () => true,
        () => undefined,
      ),
    { timeoutMs: 10_000 },
  );
  await expect(asAda('create', 'configmap', 'x')).rejects.toThrow('cannot create resource "configmaps"');
});
