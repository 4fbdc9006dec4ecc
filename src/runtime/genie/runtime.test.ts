import { expect, test } from 'vitest';
import { GenieRuntime } from './runtime.ts';

const genie = new GenieRuntime();

test('a run of genie is refused for good, with words', () => {
  expect(genie.plan()).toMatchObject({ ok: false, reason: 'ScaffoldOnly', message: expect.stringContaining('genie') });
});

test('its profile explains itself and blocks nothing: a run that waits would never be told', async () => {
  expect(await genie.doctor()).toMatchObject([{ level: 'info', message: expect.stringContaining('ScaffoldOnly') }]);
});

test('nothing can be created by another way', async () => {
  await expect(genie.create()).rejects.toMatchObject({ name: 'RuntimeError', kind: 'terminal' });
});

test('work of a run that once named it is gone, and ends', async () => {
  const handle = { externalId: 'x', attempt: 1, createdAt: 0 };
  expect((await genie.observe([handle])).get('x')).toEqual({ at: 'gone' });
  await genie.teardown();
});
