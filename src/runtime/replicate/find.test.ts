import { expect, test } from 'vitest';
import { DEPLOYMENT, VERSION } from '../../../test/fakes/replicate/server.ts';
import { ReplicateRuntime } from './runtime.ts';
import { aVendor, KeepingSink, listed } from './testing/a-vendor.ts';

const STRANGER = { model: 'other/model', version: 'b'.repeat(64) };

test('everything since a time is found over all pages, newest first, and the rest is not read', async () => {
  const { fake, create, runtime, io } = await aVendor();
  fake.state.pageSize = 3;
  const ids: string[] = [];
  for (let i = 0; i < 9; i += 1) {
    ids.push((await create()).externalId);
    fake.state.skip(1000);
  }
  const since = fake.state.predictions.get(ids[5]!)!.createdAt;
  const found = await listed(runtime.list(since, io));
  expect(found.map(({ externalId }) => externalId)).toEqual(ids.slice(5).toReversed());
  expect(fake.requests('list')).toHaveLength(2);
});

test('what still runs is told from what has ended', async () => {
  const { fake, create, runtime, io } = await aVendor({ fake: { behaviour: { queueMs: 1000, runMs: 1000 } } });
  await create();
  expect(await listed(runtime.list(0, io))).toMatchObject([{ live: true }]);
  fake.state.skip(1500);
  expect(await listed(runtime.list(0, io))).toMatchObject([{ live: true }]);
  fake.state.skip(1500);
  expect(await listed(runtime.list(0, io))).toMatchObject([{ live: false }]);
});

test('somebody’s work with the same input and another model is not taken for ours', async () => {
  const { fake, create, plan, runtime, io } = await aVendor();
  await create();
  fake.state.create(STRANGER, { prompt: 'a cup on a table' }, {});
  const digests = (await listed(runtime.list(0, io))).map(({ requestDigest }) => requestDigest);
  expect(digests.filter((digest) => digest === plan().requestDigest)).toHaveLength(1);
  expect(digests).not.toContain(undefined);
});

test('somebody’s work whose data is gone does not make ours doubtful', async () => {
  const { fake, runtime, io } = await aVendor();
  fake.state.create(STRANGER, { prompt: 'x' }, {});
  fake.state.skip(3_700_000);
  const [found] = await listed(runtime.list(0, io));
  expect(found!.requestDigest).toMatch(/^sha256:/);
  expect(found).not.toHaveProperty('doubtful');
});

test('what a person made in the playground is left out', async () => {
  const { fake, runtime, io } = await aVendor();
  fake.state.create({ model: 'acme/dreamer', version: VERSION }, { prompt: 'x' }, { source: 'web' });
  expect(await listed(runtime.list(0, io))).toEqual([]);
});

test('a deployment’s work is known where the vendor does not name the deployment', async () => {
  const { fake, create, plan, runtime, io } = await aVendor({ replicate: { deployment: DEPLOYMENT } });
  fake.state.namesDeployment = false;
  await create();
  fake.state.create(STRANGER, { prompt: 'a cup on a table' }, {});
  const digests = (await listed(runtime.list(0, io))).map(({ requestDigest }) => requestDigest);
  expect(digests[1]).toBe(plan().requestDigest);
  expect(digests[0]).not.toBe(plan().requestDigest);
});

test('where inputs come back changed the work is doubtful to every process, so that nothing is bought again by mistake', async () => {
  const { fake, create, plan, runtime, io } = await aVendor();
  fake.state.echo = (input) => ({ guidance: 3.5, ...(input as object) });
  const { externalId } = await create();
  for (const process of [runtime, new ReplicateRuntime()]) {
    const [found] = await listed(process.list(0, io));
    expect(found).toMatchObject({ externalId, doubtful: true });
    expect(found!.requestDigest).not.toBe(plan().requestDigest);
  }
  expect(await runtime.doctor(io.profile, io)).toContainEqual(
    expect.objectContaining({ check: 'replicate-echo', level: 'info' }),
  );
});

test('an entry that is not understood may be anybody’s', async () => {
  const { fake, runtime, io } = await aVendor();
  const results = [{ id: 'abc', status: 'succeeded', created_at: 'yesterday' }];
  fake.faults.add({ on: 'list', answer: { status: 200, body: { next: null, results } } });
  expect(await listed(runtime.list(5, io))).toEqual([
    { externalId: 'abc', createdAt: 5, requestDigest: undefined, live: true },
  ]);
});

test('work that the vendor does not list yet is not found', async () => {
  const { fake, create, runtime, io } = await aVendor();
  fake.state.listLagMs = runtime.traits.listLagMs;
  await create();
  expect(await listed(runtime.list(0, io))).toEqual([]);
  fake.state.skip(runtime.traits.listLagMs);
  expect(await listed(runtime.list(0, io))).toHaveLength(1);
});

test('answers that leave out what is not there yet are understood all the same', async () => {
  const { fake, create, plan, runtime, io } = await aVendor({ fake: { behaviour: { queueMs: 1000, runMs: 1000 } } });
  fake.state.sparse = true;
  const handles = [await create(), await create(), await create()];
  const { requestDigest } = plan();
  for (const at of ['queued', 'running', 'ended']) {
    expect([...(await runtime.observe(handles, io)).values()].map((state) => state.at)).toEqual([at, at, at]);
    expect([...(await runtime.observe(handles.slice(0, 1), io)).values()]).toMatchObject([{ at }]);
    expect((await listed(runtime.list(0, io))).map((work) => work.requestDigest)).toEqual(
      handles.map(() => requestDigest),
    );
    fake.state.skip(1000);
  }
  const result = await runtime.collect(handles[0]!, plan().context, new KeepingSink(), io);
  expect(result).toMatchObject({ exitCode: 0, artifacts: [{ state: 'Stored' }] });
});
