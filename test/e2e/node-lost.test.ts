import { expect, test } from 'vitest';
import { BUSYBOX_IMAGE } from '../cluster/small-images.ts';
import { condition } from './kit.ts';
import { fixture } from './fixture.ts';

/** The node stops answering while its pods run on. */

const world = fixture('node-lost');

test('a run on a lost node ends with NodeLost after the profile’s patience, and is tried again when the node is back', async () => {
  const { kit } = world;
  await kit.apply(kit.profile('node-lost-patient', { image: BUSYBOX_IMAGE }, { nodeLostSeconds: 5 }));
  await kit.apply(
    kit.shell('lost', 'node-lost-patient', 'if [ $WORLDFLUX_ATTEMPT = 1 ]; then sleep 600; fi', {
      retry: { maxAttempts: 2, onReasons: ['NodeLost'] },
      timeouts: { uploadSeconds: 10 },
    }),
  );
  await kit.until('lost', (r) => condition(r, 'Ready')?.reason === 'Running');
  await kit.cluster.stopNode();
  try {
    const waiting = await kit.until('lost', (r) => r.status?.attempts?.[0]?.finishedAt !== undefined, 150);
    expect(waiting.status!.attempts).toMatchObject([{ number: 1, reason: 'NodeLost' }]);
  } finally {
    await kit.cluster.startNode();
  }
  const run = await kit.finished('lost', 180);
  expect(run.status).toMatchObject({ phase: 'Succeeded', attemptCount: 2 });
}, 400_000);
