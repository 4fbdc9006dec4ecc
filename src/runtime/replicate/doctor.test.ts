import { expect, test } from 'vitest';
import { DEPLOYMENT, VERSION } from '../../../test/fakes/replicate/server.ts';
import { aVendor, type VendorWishes } from './testing/a-vendor.ts';

const lines = async (
  wishes: VendorWishes = {},
  change: (vendor: Awaited<ReturnType<typeof aVendor>>) => void = () => {},
) => {
  const vendor = await aVendor(wishes);
  change(vendor);
  const found = await vendor.runtime.doctor(vendor.profile, vendor.io);
  return { ...vendor, found, errors: found.filter(({ level }) => level === 'error') };
};

test.each<NonNullable<VendorWishes['replicate']>>([
  { model: 'acme/dreamer' },
  { version: `acme/dreamer:${VERSION}` },
  { deployment: DEPLOYMENT },
])('a profile that works has no error and has cost nothing: %o', async (replicate) => {
  const { errors, found, fake } = await lines({ replicate });
  expect(errors).toEqual([]);
  expect(found.at(-1)).toMatchObject({ level: 'ok' });
  expect(fake.log.every(({ method }) => method === 'GET')).toBe(true);
});

test.each<NonNullable<VendorWishes['replicate']>>([
  { model: 'acme/nothing' },
  { version: `acme/dreamer:${'c'.repeat(64)}` },
  { deployment: 'acme/nothing' },
])('a target that is not there is an error that names the field: %o', async (replicate) => {
  const { errors } = await lines({ replicate });
  expect(errors).toHaveLength(1);
  expect(errors[0]!.message).toContain(`spec.replicate.${Object.keys(replicate)[0]}`);
});

test('a version alone cannot be looked up, and the line says how it could', async () => {
  const { found, errors } = await lines({ replicate: { version: VERSION } });
  expect(errors).toEqual([]);
  expect(found.at(-1)).toMatchObject({ level: 'info', message: expect.stringContaining('owner/name:version') });
});

test('a model that is not official is told the version to name', async () => {
  const { errors } = await lines({}, ({ fake }) => (fake.state.models.get('acme/dreamer')!.official = false));
  expect(errors).toMatchObject([{ message: expect.stringContaining(`acme/dreamer:${VERSION}`) }]);
});

test('a token that is not accepted names the Secret and its key, and nothing further is asked', async () => {
  const { errors, fake } = await lines({}, ({ fake }) => fake.state.tokens.clear());
  expect(errors).toMatchObject([{ check: 'replicate-account' }]);
  expect(errors[0]!.message).toMatch(/REPLICATE_API_TOKEN of Secret replicate/);
  expect(fake.log).toHaveLength(1);
});

test('a Secret without the token is an error, without a request', async () => {
  const { errors, fake } = await lines({ credentials: {} });
  expect(errors).toMatchObject([{ message: expect.stringContaining('REPLICATE_API_TOKEN') }]);
  expect(fake.log).toEqual([]);
});

test('an endpoint without the API’s version says so', async () => {
  const { errors } = await lines({}, ({ fake, profile }) => {
    profile.spec.replicate!.endpoint = fake.controlUrl;
  });
  expect(errors).toMatchObject([{ message: expect.stringContaining('such as /v1') }]);
});

test.each([
  [{ answer: { status: 429 } }, 'throttled'],
  [{ answer: { status: 503 } }, 'retryable'],
  [{ cut: 'before' as const }, 'retryable'],
])('a vendor that does not answer now is no line but a fault: %o', async (fault, kind) => {
  const { fake, runtime, profile, io } = await aVendor({ policy: { health: { maxAttempts: 1 } } });
  for (const on of ['account', 'model'] as const) {
    fake.faults.add({ on, ...fault });
    await expect(runtime.doctor(profile, io)).rejects.toMatchObject({ fault: { kind } });
  }
});
