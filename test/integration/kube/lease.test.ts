import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { createInterface } from 'node:readline';
import { inject, expect, onTestFinished, test, vi } from 'vitest';
import { LeaderElector } from '../../../src/kube/lease.ts';
import { LEASES } from '../../../src/kube/resource.ts';
import { useCluster } from './setup.ts';

const { client, namespace } = useCluster();

function campaign(
  identity: string,
  name: string,
  timing: { leaseMs: number; renewDeadlineMs: number; retryMs: number },
) {
  const stop = new AbortController();
  const epochs: number[] = [];
  const errors: unknown[] = [];
  const elector = new LeaderElector({
    client,
    namespace,
    name,
    identity,
    ...timing,
    lead: async (epoch, signal) => {
      epochs.push(epoch);
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    },
    onError: (error) => errors.push(error),
  });
  const ended = elector.run(stop.signal);
  onTestFinished(async () => {
    stop.abort();
    await ended;
  });
  return { elector, epochs, errors, stop, ended };
}

const quick = { leaseMs: 3000, renewDeadlineMs: 2000, retryMs: 250 };

test('one of three leads; after it stops, another does at once, under a higher epoch', async () => {
  const all = ['a', 'b', 'c'].map((identity) => campaign(identity, 'handover', quick));
  const leaders = () => all.filter((candidate) => candidate.elector.isLeader());
  await vi.waitFor(() => expect(leaders()).toHaveLength(1), { timeout: 5000 });
  const [first] = leaders();
  expect(first!.epochs).toEqual([1]);
  const lease = await client.get(LEASES, { namespace, name: 'handover' });
  expect(lease.spec).toMatchObject({ leaseTransitions: 1, leaseDurationSeconds: 3 });
  first!.stop.abort();
  expect(await first!.ended).toBe('stopped');
  await vi.waitFor(() => expect(leaders()).toHaveLength(1), { timeout: 5000 });
  expect(all.flatMap((candidate) => candidate.epochs)).toEqual(expect.arrayContaining([1, 2]));
  expect(all.flatMap((candidate) => candidate.errors)).toEqual([]);
});

test('a leader that is stopped by a signal and woken later is no leader from its first instruction on', async () => {
  const child = spawn(
    process.execPath,
    [fileURLToPath(new URL('lease-holder.ts', import.meta.url)), inject('kubeconfig'), namespace],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  onTestFinished(() => void child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const nextLine = async () => String((await lines.next()).value);

  expect(await nextLine()).toBe('leads 1');
  child.kill('SIGSTOP');
  const successor = campaign('successor', 'paused', quick);
  await vi.waitFor(() => expect(successor.epochs).toEqual([2]), { timeout: 15_000 });
  child.kill('SIGCONT');
  expect(await nextLine()).toBe('woke not-leader');
  expect(await nextLine()).toBe('ended lost');
  expect(successor.elector.assertLeader()).toBe(2);
});
