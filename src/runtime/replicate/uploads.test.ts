import { expect, test } from 'vitest';
import { ReplicateRuntime } from './runtime.ts';
import { aVendor } from './testing/a-vendor.ts';

const spec = (...inputs: string[]) => ({
  request: { prompt: 'x', files: inputs.map((input) => ({ input, path: `${input}.png` })) },
  source: { configMap: { name: 'inputs' } },
});

test('files are uploaded before the create, and referenced by URL', async () => {
  const { fake, runtime, plan, once, io } = await aVendor();
  const made = plan(spec('image', 'mask'), { 'image.png': 'pixels', 'mask.png': 'mask' });
  await runtime.prepare(made, io);
  expect(fake.requests('create')).toEqual([]);
  const before = fake.log.length;
  const { externalId } = await runtime.create(made, once());
  expect(fake.log.slice(before).map(({ method, operation }) => [method, operation])).toEqual([['POST', 'create']]);
  const input = fake.state.predictions.get(externalId)!.input as Record<string, string>;
  const contents = ['image', 'mask'].map((name) => fake.state.files.get(input[name]!.split('/').at(-1)!)!);
  expect(contents.map(({ bytes }) => bytes.toString())).toEqual(['pixels', 'mask']);
  expect(contents.map(({ name }) => name)).toEqual(['image.png', 'mask.png']);
  expect(input['prompt']).toBe('x');
});

test('one content is uploaded once, however many runs ask for it at the same time', async () => {
  const { fake, runtime, plan, io } = await aVendor();
  const made = plan(spec('image', 'mask'), { 'image.png': 'pixels', 'mask.png': 'pixels' });
  await Promise.all(Array.from({ length: 20 }, () => runtime.prepare(made, io)));
  expect(fake.requests('fileCreate')).toHaveLength(1);
});

test('an upload is found again by another process', async () => {
  const { fake, runtime, plan, io } = await aVendor();
  const made = plan(spec('image'), { 'image.png': 'pixels' });
  await runtime.prepare(made, io);
  await new ReplicateRuntime().prepare(made, io);
  expect(fake.requests('fileCreate')).toHaveLength(1);
});

test('an upload whose answer was lost is found, not repeated', async () => {
  const { fake, runtime, plan, io } = await aVendor();
  const made = plan(spec('image'), { 'image.png': 'pixels' });
  fake.faults.add({ on: 'fileCreate', cut: 'after' });
  await expect(runtime.prepare(made, io)).rejects.toMatchObject({ fault: { kind: 'retryable' } });
  await runtime.prepare(made, io);
  expect(fake.requests('fileCreate')).toHaveLength(1);
});

test('a file that is about to expire at the vendor is uploaded anew, at the create if need be', async () => {
  const { fake, runtime, plan, io, once } = await aVendor();
  const made = plan(spec('image'), { 'image.png': 'pixels' });
  await runtime.prepare(made, io);
  fake.state.skip(23 * 3600 * 1000);
  const { externalId } = await runtime.create(made, once({ notAfter: io.now() + 60_000 }));
  expect(fake.requests('fileCreate')).toHaveLength(2);
  const { input } = fake.state.predictions.get(externalId)!;
  const id = (input as { image: string }).image.split('/').at(-1)!;
  expect(fake.state.files.get(id)!.expiresAt).toBeGreaterThan(io.now() + 3600 * 1000);
});

test('another account does not get the first one’s files', async () => {
  const { fake, runtime, plan, io } = await aVendor();
  const made = plan(spec('image'), { 'image.png': 'pixels' });
  await runtime.prepare(made, io);
  fake.state.tokens.add('r8_another');
  fake.state.files.clear();
  await runtime.prepare(made, { ...io, credentials: { REPLICATE_API_TOKEN: 'r8_another' } });
  expect(fake.requests('fileCreate')).toHaveLength(2);
});

test('somebody’s own file with the same content is left alone', async () => {
  const { fake, runtime, plan, io } = await aVendor();
  fake.state.addFile('theirs.png', 'image/png', Buffer.from('pixels'), {});
  await runtime.prepare(plan(spec('image'), { 'image.png': 'pixels' }), io);
  expect(fake.requests('fileCreate')).toHaveLength(1);
});
