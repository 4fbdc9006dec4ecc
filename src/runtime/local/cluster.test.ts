import { expect, test } from 'vitest';
import { stopJob } from './cluster.ts';

test('the pods of a Job are stopped before the garbage collector can give them their whole grace period', async () => {
  const calls: string[] = [];
  const cluster = {
    hastenPod: async ({ name }: { name: string }) => void calls.push(`hasten ${name}`),
    deleteJob: async ({ name }: { name: string }) => void calls.push(`delete ${name}`),
  };
  const pod = (name: string, jobUid: string) => ({ namespace: 'team', name, uid: `uid-${name}`, jobUid });
  await stopJob(cluster, { namespace: 'team', name: 'first', uid: 'one' }, [
    pod('first-0', 'one'),
    pod('second-0', 'two'),
    pod('first-1', 'one'),
  ]);
  expect(calls).toEqual(['hasten first-0', 'hasten first-1', 'delete first']);
});
