import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { OperationName } from '../../../test/fakes/replicate/faults.ts';
import { RuntimeError } from '../errors.ts';
import { outputsOf } from './outputs.ts';
import { aProfile, aVendor, KeepingSink, listed } from './testing/a-vendor.ts';

/** Answers that no documentation foresees. */

const CANARY = 'canary-8c1f';
const word = fc.oneof(
  fc.constantFrom(
    'processing',
    'succeeded',
    'failed',
    'canceled',
    'aborted',
    '2026-11-20T10:00:00Z',
    'abc',
    '../x',
    '',
  ),
  fc.string({ maxLength: 8 }).map((text) => `${CANARY}${text}`),
);
const value = fc.letrec<{ any: unknown }>((tie) => ({
  any: fc.oneof(
    { maxDepth: 3 },
    word,
    fc.constantFrom(null, 0, -1, 1e308, true),
    fc.array(tie('any'), { maxLength: 3 }),
    fc.dictionary(word, tie('any'), { maxKeys: 3 }),
  ),
})).any;
const KEYS = [
  'id',
  'status',
  'error',
  'output',
  'logs',
  'metrics',
  'created_at',
  'started_at',
  'completed_at',
  'deadline',
];
const MORE = ['results', 'next', 'urls', 'input', 'checksums', 'invalid_fields', 'retry_after', 'detail', 'key'];
const good = { id: 'abc', status: 'succeeded', created_at: '2026-11-20T10:00:00Z', results: [], urls: { get: 'x' } };
const body = fc.oneof(
  value,
  fc
    .dictionary(fc.constantFrom(...KEYS, ...MORE), value, { maxKeys: 6 })
    .map((broken) => ({ ...good, ...broken }) as unknown),
);
const answer = fc.record({ status: fc.constantFrom(200, 201, 302, 400, 402, 404, 409, 422, 429, 500, 503), body });

describe('whatever the vendor answers', () => {
  const calls: Record<
    string,
    { on: OperationName[]; call: (v: Awaited<ReturnType<typeof aVendor>>) => Promise<unknown> }
  > = {
    doctor: { on: ['account', 'model'], call: (v) => v.runtime.doctor(v.profile, v.io) },
    create: { on: ['create'], call: (v) => v.create() },
    observe: { on: ['get'], call: (v) => v.runtime.observe([{ externalId: 'abc', attempt: 1, createdAt: 0 }], v.io) },
    list: { on: ['list', 'fileGet'], call: (v) => listed(v.runtime.list(0, v.io)) },
    teardown: {
      on: ['cancel'],
      call: (v) => v.runtime.teardown({ externalId: 'abc', attempt: 1, createdAt: 0 }, v.io),
    },
    prepare: {
      on: ['fileList', 'fileCreate'],
      call: (v) => {
        const source = { configMap: { name: 'c' } };
        const made = v.plan(
          { request: { files: [{ input: 'image', path: 'a' }] }, source },
          { a: String(Math.random()) },
        );
        return v.runtime.prepare(made, v.io);
      },
    },
    collect: {
      on: ['get'],
      call: (v) =>
        v.runtime.collect({ externalId: 'abc', attempt: 1, createdAt: 0 }, v.plan().context, new KeepingSink(), v.io),
    },
  };

  test.each(Object.keys(calls))(
    '%s rejects with a RuntimeError or not at all, and does not repeat its words',
    async (name) => {
      const { on, call } = calls[name]!;
      const vendor = await aVendor({
        policy: {
          health: { maxAttempts: 1 },
          request: { maxAttempts: 1 },
          polling: { maxAttempts: 1 },
          download: { maxAttempts: 1 },
        },
      });
      onTestFinished(() => vendor.fake.faults.clear());
      await fc.assert(
        fc.asyncProperty(fc.array(answer, { minLength: on.length, maxLength: on.length }), async (answers) => {
          vendor.fake.faults.clear();
          on.forEach((operation, i) => vendor.fake.faults.add({ on: operation, answer: answers[i]! }));
          const words = await call(vendor).then(
            () => '',
            (error: unknown) => {
              if (error instanceof RuntimeError) return error.message;
              throw error;
            },
          );
          expect(words).not.toContain(CANARY);
        }),
        { numRuns: 150 },
      );
    },
  );
});

test('every file in an output becomes one part with a name of its own, wherever it stands', () => {
  const url = fc.nat(1e6).map((n) => `https://replicate.delivery/x/${n}.png`);
  const tree = fc.letrec<{ any: unknown }>((tie) => ({
    any: fc.oneof(
      { maxDepth: 4 },
      url,
      fc.integer(),
      fc.string(),
      fc.array(tie('any'), { maxLength: 5 }),
      fc.dictionary(fc.string({ maxLength: 6 }), tie('any'), { maxKeys: 5 }),
    ),
  })).any;
  fc.assert(
    fc.property(tree, (output) => {
      const { parts, left } = outputsOf(output, aProfile());
      const urls = JSON.stringify(output).match(/https:\/\/replicate\.delivery\/x\/\d+\.png/g) ?? [];
      expect(parts.filter(({ from }) => from === 'url')).toHaveLength(urls.length - left);
      expect(new Set(parts.map(({ name }) => name)).size).toBe(parts.length);
      for (const { name } of parts) expect(name).toMatch(/^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/);
    }),
    { numRuns: 500 },
  );
});
