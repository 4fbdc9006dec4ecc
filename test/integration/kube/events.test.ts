import { expect, onTestFinished, test, vi } from 'vitest';
import { EVENTS, EventRecorder } from '../../../src/kube/events.ts';
import { CONFIG_MAPS } from '../../../src/kube/resource.ts';
import { collect } from '../../../src/kube/testing/scripted-server.ts';
import { useCluster } from './setup.ts';

const { client, namespace } = useCluster();

test('the server accepts an event and the series that it becomes', async () => {
  const { metadata } = await client.create(CONFIG_MAPS, { metadata: { namespace, name: 'subject' } });
  const errors: unknown[] = [];
  const recorder = new EventRecorder({
    client,
    controller: 'example.com/kube-tests',
    instance: 'test-1',
    redact: (note) => note,
    onError: (error) => errors.push(error),
  });
  onTestFinished(() => recorder.stop(AbortSignal.abort()));
  const regarding = { apiVersion: 'v1', kind: 'ConfigMap', namespace, name: 'subject', uid: metadata?.uid ?? '' };
  const record = () =>
    recorder.record({ type: 'Normal', reason: 'Looked', action: 'Look', note: 'looked at it', regarding });
  const written = () => collect(client.list(EVENTS, { namespace, fieldSelector: 'regarding.name=subject' }));

  record();
  await vi.waitFor(async () => expect(await written()).toMatchObject([{ note: 'looked at it', regarding }]), {
    timeout: 10_000,
  });
  vi.useFakeTimers({ toFake: ['setTimeout', 'performance'] });
  record();
  record();
  await vi.advanceTimersByTimeAsync(31_000);
  vi.useRealTimers();
  await vi.waitFor(async () => expect(await written()).toMatchObject([{ series: { count: 3 } }]), { timeout: 10_000 });
  expect([errors, recorder.dropped]).toEqual([[], 0]);
});
