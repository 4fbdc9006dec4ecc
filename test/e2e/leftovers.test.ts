import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { condition } from './kit.ts';
import { fixture } from './fixture.ts';
import { storedFile } from './store.ts';

/** What real pods leave that nobody planned for: pods without a Job, logs without an encoding, logs without measure. */

const world = fixture('leftovers');
const MIB = 2 ** 20;

test('pods whose Job was deleted from under them are stopped, and their run ends with the reason', async () => {
  const { kit, profile } = world;
  await kit.apply(kit.shell('orphaned', profile, 'sleep 600'));
  await kit.until('orphaned', (run) => condition(run, 'Ready')?.reason === 'Running');
  const of = ['-n', kit.namespace, '-l', 'worldflux.ai/run=orphaned'];
  const pods = () => kit.cluster.kubectl(['get', 'pods', ...of, '-o', 'name']);
  expect((await pods()).trim().split('\n')).toHaveLength(1);
  await kit.cluster.kubectl(['delete', 'jobs', ...of, '--cascade=orphan']);
  expect(condition(await kit.finished('orphaned'), 'Succeeded')).toMatchObject({ reason: 'ChildDeleted' });
  await kit.cluster.kubectl(['wait', 'pods', ...of, '--for=delete', '--timeout=120s'], { timeoutMs: 130_000 });
  expect(await pods()).toBe('');
});

test('a log that is no text is kept byte for byte', async () => {
  const { kit, profile } = world;
  // Not CR LF: of that pair the container runtime keeps the second half.
  const written =
    '\\377\\376 no UTF-8 \\303( cut \\342\\202\\nNUL \\000 and \\033[31mcolour\\033[0m\\r.\\n\\360\\237\\221';
  await kit.apply(kit.shell('binary', profile, `printf '${written}'`));
  const { log } = (await kit.finished('binary')).status!.result!;
  expect(log).toMatchObject({ complete: true, redacted: 0 });
  const expected = '\xff\xfe no UTF-8 \xc3( cut \xe2\x82\nNUL \0 and \x1b[31mcolour\x1b[0m\r.\n\xf0\x9f\x91';
  expect(readFileSync(storedFile(world.operator.storeDir, log!.path)).toString('latin1')).toBe(expected);
});

const LINE = `${'x'.repeat(99)}\n`;
const shout = (bytes: number): string => `yes ${'x'.repeat(99)} | head -c ${bytes}; echo the end`;
const END = 'the end\n';

/** Most memory that the operator ever had, in bytes. */
function peak(): number {
  const [, kib] = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${world.operator.pid}/status`, 'utf8'))!;
  return Number(kib) * 1024;
}

test('a log as large as the limit lets it be is whole, or says what is missing of it', async () => {
  const { kit, profile } = world;
  const size = 600_000 * LINE.length;
  await kit.apply(kit.shell('large', profile, shout(size)));
  const log = (await kit.finished('large', 200)).status!.result!.log!;
  const text = readFileSync(storedFile(world.operator.storeDir, log.path));
  expect(text.length).toBe(log.bytes);
  expect(text.subarray(-END.length).toString()).toBe(END);
  // The kubelet may have rotated meanwhile: then that is said.
  const isWhole = text.equals(Buffer.from(LINE.repeat(size / LINE.length) + END));
  expect({ complete: log.complete, misses: log.gaps > 0 || log.headLost }).toEqual({
    complete: isWhole,
    misses: !isWhole,
  });
});

test('a log over the limit keeps its newest part and says what was left out, in bounded memory', async () => {
  const { kit, profile } = world;
  await kit.apply(kit.shell('endless', profile, shout(400 * MIB)));
  const log = (await kit.finished('endless', 200)).status!.result!.log!;
  expect(log.complete).toBe(false);
  expect(log.bytes).toBeLessThan(66 * MIB);
  const text = readFileSync(storedFile(world.operator.storeDir, log.path));
  expect(text.subarray(-END.length).toString()).toBe(END);
  // Cut by us in the middle, or by the kubelet before.
  expect(log.headLost || text.includes('bytes were left out here')).toBe(true);
  // Less than the log: it passes through, and is never held as a whole.
  console.log(`the operator's peak: ${Math.round(peak() / MIB)} MiB`);
  expect(peak()).toBeLessThan(400 * MIB);
});
