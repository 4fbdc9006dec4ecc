import { describe, expect, test } from 'vitest';
import type { Handle, WorkEnd } from '../contract.ts';
import { RuntimeError } from '../errors.ts';
import { aVendor } from './testing/a-vendor.ts';

const stranger: Handle = { externalId: 'nobodyknowsthis', attempt: 1, createdAt: 0 };

describe('many pieces of work', () => {
  test('are looked at a page at a time', async () => {
    const { fake, create, runtime, io } = await aVendor({ fake: { behaviour: { runMs: 60_000 } } });
    const handles: Handle[] = [];
    for (let i = 0; i < 250; i += 1) handles.push(await create());
    const states = await runtime.observe(handles, io);
    expect(states.size).toBe(250);
    expect([...states.values()].every(({ at }) => at === 'running')).toBe(true);
    expect(fake.requests('list')).toHaveLength(3);
    expect(fake.requests('get')).toEqual([]);
  });

  test.each([
    [['generate', 'generate', 'generate'], 'generate'],
    [['generate', 'predict', 'generate'], 'unknown'],
    [[undefined, undefined, undefined], 'unknown'],
  ])('of capabilities %j are one call of capability %s', async (asked, label) => {
    const { create, runtime, io, events } = await aVendor({ fake: { behaviour: { runMs: 60_000 } } });
    const handles: Handle[] = [];
    for (const capability of asked)
      handles.push({ ...(await create()), ...(capability !== undefined && { capability }) });
    events.length = 0;
    await runtime.observe(handles, io);
    await runtime.observe(handles.slice(0, 1), io);
    await runtime.teardown(handles[0]!, io);
    expect(events.map(({ operation, capability }) => [operation, capability])).toEqual([
      ['prediction list', label],
      ['prediction get', asked[0] ?? 'unknown'],
      ['prediction cancel', asked[0] ?? 'unknown'],
    ]);
  });

  test('are asked for one by one where the list does not hold them', async () => {
    const { fake, create, runtime, io } = await aVendor();
    const handles = [await create(), await create(), await create(), await create()];
    for (let i = 0; i < 200; i += 1) fake.state.create({ model: 'other/x', version: 'hidden' }, {}, {});
    fake.state.skip(1000);
    expect((await runtime.observe(handles, io)).size).toBe(4);
    expect(fake.requests('list')).toHaveLength(1);
    expect(fake.requests('get')).toHaveLength(4);
  });

  test('are asked for one by one where a page cannot be read', async () => {
    const { fake, create, runtime, io } = await aVendor();
    const handles = [await create(), await create(), await create()];
    fake.faults.add({ on: 'list', answer: { status: 200, body: { next: null, results: ['x'.repeat(33 << 20)] } } });
    expect((await runtime.observe(handles, io)).size).toBe(3);
  });

  test('are all looked at in turn, however many they are', async () => {
    const { fake, create, runtime, io } = await aVendor();
    const handles: Handle[] = [];
    for (let i = 0; i < 230; i += 1) handles.push(await create());
    fake.state.listLagMs = 1e9;
    const first = await runtime.observe(handles, io);
    const second = await runtime.observe(handles, io);
    expect(first.size).toBe(200);
    expect(new Set([...first.keys(), ...second.keys()]).size).toBe(230);
  });

  test('are left alone when the vendor asks for it', async () => {
    const { fake, runtime, io } = await aVendor({ policy: { polling: { maxAttempts: 1 } } });
    fake.faults.add({ on: 'get', times: 1000, answer: { status: 429, headers: { 'retry-after': '9' } } });
    const handles = Array.from({ length: 100 }, (_, i) => ({ ...stranger, externalId: `p${i}` }));
    const error = await runtime.observe(handles, io).catch((cause: unknown) => cause as RuntimeError);
    expect(error).toMatchObject({ fault: { kind: 'throttled', retryAfterMs: 9000 } });
    expect(fake.requests('get').length).toBeLessThanOrEqual(8);
  });

  test('do not suffer from one that cannot be had now', async () => {
    const { fake, create, runtime, io } = await aVendor({ policy: { polling: { maxAttempts: 1 } } });
    const handles = [await create(), await create()];
    fake.faults.add({ on: 'get', answer: { status: 500 } });
    expect((await runtime.observe(handles, io)).size).toBe(1);
  });
});

describe('work that the vendor does not know', () => {
  test('is gone', async () => {
    const { runtime, io } = await aVendor();
    expect(await runtime.observe([stranger], io)).toEqual(new Map([[stranger.externalId, { at: 'gone' }]]));
  });

  test('is not gone as long as it may only be new', async () => {
    const { runtime, io } = await aVendor();
    expect(await runtime.observe([{ ...stranger, createdAt: io.now() }], io)).toEqual(new Map());
  });

  test('is not asked for by an id that leads elsewhere', async () => {
    const { fake, runtime, io } = await aVendor();
    const externalId = '../account';
    expect(await runtime.observe([{ ...stranger, externalId }], io)).toEqual(new Map([[externalId, { at: 'gone' }]]));
    await runtime.teardown({ ...stranger, externalId }, io);
    expect(fake.log).toEqual([]);
  });

  test('is not what it is when only its data was removed', async () => {
    const { fake, create, runtime, io } = await aVendor();
    const handle = await create();
    fake.state.skip(7_200_000);
    expect((await runtime.observe([handle], io)).get(handle.externalId)).toMatchObject({ outcome: 'succeeded' });
  });
});

describe('where work stands', () => {
  const one = async (behaviour: object, skipMs: number, timeouts = { startupSeconds: 10, runSeconds: 50 }) => {
    const vendor = await aVendor({ fake: { now: () => 1_800_000_000_000, behaviour } });
    const handle = await vendor.create({ request: {}, timeouts });
    vendor.fake.state.skip(skipMs);
    const look = async () => (await vendor.runtime.observe([handle], vendor.io)).get(handle.externalId);
    return { ...vendor, handle, look };
  };
  const T0 = 1_800_000_000_000;

  test('waiting', async () => {
    const { look } = await one({ queueMs: 5000, runMs: 5000 }, 1000);
    expect(await look()).toMatchObject({ at: 'queued' });
  });

  test('running, with the percent of its progress bar', async () => {
    const { look } = await one(
      { queueMs: 1000, runMs: 4000, logs: [' 50%|█████     | 5/10', ' 100%|██| 10/10'] },
      3000,
    );
    expect(await look()).toEqual({ at: 'running', startedAt: T0 + 1000, percent: 50 });
  });

  test('succeeded', async () => {
    const { look } = await one({ queueMs: 1000, runMs: 4000 }, 9000);
    const end: Partial<WorkEnd> = {
      outcome: 'succeeded',
      reason: 'Completed',
      startedAt: T0 + 1000,
      finishedAt: T0 + 5000,
    };
    expect(await look()).toMatchObject({ at: 'ended', exitCode: 0, ...end });
  });

  test('failed, with the model’s words and without what is none of anybody’s business', async () => {
    const error = `CUDA out of memory\n see https://x.example/log?sig=abc123 Bearer r8_FakeTokenForTestsOnly0000000000000000`;
    const { look } = await one({ outcome: 'fail', error }, 0);
    const end = (await look()) as WorkEnd;
    expect(end).toMatchObject({ outcome: 'failed', reason: 'VendorFailed', exitCode: 1 });
    expect(end.message).toMatch(/^The prediction failed: CUDA out of memory see https:\/\/x\.example\/log /);
    expect(end.message).not.toMatch(/r8_Fake|abc123/);
  });

  test('ended by the deadline before it had started', async () => {
    const { look } = await one({ queueMs: 90_000 }, 61_000);
    expect(await look()).toMatchObject({ outcome: 'failed', reason: 'VendorDeadline', finishedAt: T0 + 60_000 });
  });

  test('ended by the deadline while it ran', async () => {
    const { look } = await one({ queueMs: 1000, runMs: 90_000 }, 61_000);
    expect(await look()).toMatchObject({ outcome: 'failed', reason: 'VendorDeadline', startedAt: T0 + 1000 });
  });

  test('cancelled, by whomever, before and after its start', async () => {
    for (const queueMs of [0, 30_000]) {
      const { look, runtime, io, handle } = await one({ queueMs, runMs: 30_000 }, 10_000);
      await runtime.teardown(handle, io);
      expect(await look()).toMatchObject({ outcome: 'cancelled', reason: 'VendorCancelled', finishedAt: T0 + 10_000 });
    }
  });
});

describe('stopping work', () => {
  test('is a success however often, ended or unknown', async () => {
    const { fake, create, runtime, io } = await aVendor({ fake: { behaviour: { runMs: 60_000 } } });
    const handle = await create();
    expect(fake.state.live).toBe(1);
    await runtime.teardown(handle, io);
    await runtime.teardown(handle, io);
    await runtime.teardown(stranger, io);
    expect(fake.state.live).toBe(0);
    expect(fake.requests('cancel')).toHaveLength(3);
  });

  test('is a success whatever the vendor says to it', async () => {
    const { fake, create, runtime, io } = await aVendor();
    const handle = await create();
    for (const [status, body] of [
      [200, 'ok'],
      [202, {}],
      [204, ''],
    ] as const) {
      fake.faults.add({ on: 'cancel', answer: { status, body } });
      await expect(runtime.teardown(handle, io)).resolves.toBeUndefined();
    }
  });

  test.each([409, 410, 422])('is a success when the vendor says with %i that it is too late', async (status) => {
    const { fake, create, runtime, io } = await aVendor();
    const handle = await create();
    fake.faults.add({ on: 'cancel', answer: { status } });
    await expect(runtime.teardown(handle, io)).resolves.toBeUndefined();
  });

  test.each([
    [{ answer: { status: 503 } }, 'retryable'],
    [{ cut: 'after' as const }, 'retryable'],
    [{ answer: { status: 401 } }, 'credentials'],
  ])('that did not get through is told as such: %o', async (fault, kind) => {
    const { fake, create, runtime, io } = await aVendor();
    const handle = await create();
    fake.faults.add({ on: 'cancel', ...fault });
    await expect(runtime.teardown(handle, io)).rejects.toMatchObject({ fault: { kind } });
  });
});
