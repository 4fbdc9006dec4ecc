import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { CLI_API_VERSION, errorBody } from './envelope.ts';
import { run } from './program.ts';

/** What needs no cluster: usage, help, and a cluster that is not there. */

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'worldflux-cli-'));
});
afterEach(() => {
  rmSync(home, { recursive: true });
});

function sink(): Writable & { text: string } {
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      stream.text += chunk.toString();
      done();
    },
  }) as Writable & { text: string };
  stream.text = '';
  return stream;
}

async function cli(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const [stdout, stderr] = [sink(), sink()];
  const code = await run(argv, { stdout, stderr, env: { HOME: home }, signal: new AbortController().signal });
  return { code, out: stdout.text, err: stderr.text };
}

test.each([
  [['runs', 'lst']],
  [['logs']],
  [['logs', 'x', '--rank', 'one']],
  [['--nonsense']],
  [['doctor', '--capability', 'fly']],
  [['runs', 'list', '--kubeconfig', '/nowhere/config']],
])('%j is wrong usage: exit code 2, said on standard error', async (argv) => {
  expect(await cli(...argv)).toMatchObject({ code: 2, out: '', err: expect.stringContaining('error: ') });
});

test('wrong usage is one JSON document where JSON is asked for', async () => {
  const { code, out, err } = await cli('logs', 'x', '--rank', 'one', '--json');
  expect({ code, err }).toEqual({ code: 2, err: '' });
  const { apiVersion, kind, error } = JSON.parse(out) as Record<string, unknown>;
  expect({ apiVersion, kind }).toEqual({ apiVersion: CLI_API_VERSION, kind: 'Error' });
  expect(errorBody.parse(error).code).toBe('usage');
});

test('without a kubeconfig the message names where it was looked for', async () => {
  const { code, err } = await cli('runs', 'list');
  expect(code).toBe(2);
  expect(err).toContain(join(home, '.kube', 'config'));
  expect(err).toContain('try: kubectl config get-contexts');
});

test('half a command line is answered with help, and as JSON with words', async () => {
  expect(await cli('runs')).toMatchObject({ code: 2, out: '', err: expect.not.stringContaining('try:') });
  const { code, out } = await cli('--json');
  expect({ code, message: (JSON.parse(out) as { error: { message: string } }).error.message }).toEqual({
    code: 2,
    message: 'a command is missing',
  });
});

test('an older Node is told so, in words in place of a stack', async () => {
  const older = 'data:text/javascript,Object.defineProperty(process,"versions",{value:{node:"20.1.0"}})';
  const main = join(import.meta.dirname, 'main.ts');
  const ended = promisify(execFile)(process.execPath, ['--import', older, main, 'doctor']);
  await expect(ended).rejects.toMatchObject({ code: 1, stderr: expect.stringContaining('needs Node 24 or newer') });
});

test('help is no error', async () => {
  expect(await cli('--help')).toMatchObject({ code: 0, err: '', out: expect.stringContaining('artifacts') });
});
