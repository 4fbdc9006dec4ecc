import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { collect } from './testing/scripted-server.ts';
import { endsInitialEvents, readWatchEvents } from './watch.ts';

async function* chunked(bytes: Buffer, cuts: readonly number[]): AsyncGenerator<Buffer> {
  let from = 0;
  for (const cut of [...cuts, bytes.length].toSorted((a, b) => a - b)) {
    if (cut > from) yield bytes.subarray(from, cut);
    from = Math.max(from, cut);
  }
}

const read = (text: string, cuts: readonly number[] = []) =>
  collect(readWatchEvents(chunked(Buffer.from(text), cuts), 'WATCH x'));
const line = (type: string, name: string) => `${JSON.stringify({ type, object: { metadata: { name } } })}\n`;

test('events survive any cut, inside a line and inside a character', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.string({ unit: 'grapheme' }), { maxLength: 5 }),
      fc.array(fc.nat(400), { maxLength: 20 }),
      async (names, cuts) => {
        const events = await read(names.map((name) => line('MODIFIED', name)).join(''), cuts);
        expect(events.map((event) => event.object.metadata?.name)).toEqual(names);
      },
    ),
  );
});

test('a line of a megabyte is one event', async () => {
  const name = 'x'.repeat(1 << 20);
  const events = await read(line('ADDED', name), [100, 65_536, 700_000]);
  expect(events[0]!.object.metadata?.name).toBe(name);
});

test('a half line at the end is an error, after the events before it', async () => {
  const events = readWatchEvents(chunked(Buffer.from(`${line('ADDED', 'a')}{"type":"MOD`), []), 'WATCH x');
  expect(await events.next()).toMatchObject({ value: { type: 'ADDED' } });
  await expect(events.next()).rejects.toMatchObject({ kind: 'unavailable' });
});

test.each([
  ['a garbage line', 'garbage\n', 'unexpected'],
  ['null', 'null\n', 'unexpected'],
  ['an event without an object', '{"type":"ADDED"}\n', 'unexpected'],
  ['an event of unknown type', line('RENAMED', 'a'), 'unexpected'],
  ['410', '{"type":"ERROR","object":{"code":410,"reason":"Expired"}}\n', 'gone'],
  ['500', '{"type":"ERROR","object":{"code":500,"message":"etcd"}}\n', 'serverError'],
])('%s is an error, never dropped', async (_, text, kind) => {
  await expect(read(text)).rejects.toMatchObject({ kind });
});

const bookmark = (annotations: Record<string, string>) =>
  ({ type: 'BOOKMARK', object: { metadata: { annotations } } }) as const;

test('the bookmark that ends a streaming list is told from others', () => {
  expect(endsInitialEvents(bookmark({ 'k8s.io/initial-events-end': 'true' }))).toBe(true);
  expect(endsInitialEvents(bookmark({}))).toBe(false);
});
