import { afterEach, expect, test } from 'vitest';
import { openLog } from './log.ts';
import { secretsInUse } from './secrets-in-use.ts';

afterEach(() => secretsInUse.remove('test'));

/** The log's lines as they would leave. */
function lines(write: (log: ReturnType<typeof openLog>) => void): string[] {
  const written: string[] = [];
  write(openLog('trace', { write: (line) => void written.push(line) }));
  return written;
}

test('a value in use stands nowhere in a line: not in its words, its fields, or an error and its cause', () => {
  const secret = 'Correct"Horse/Battery+Staple';
  secretsInUse.add([secret], 'test');
  const cause = new Error(`it said: ${secret}`);
  const [line] = lines((log) =>
    log
      .child({ run: secret })
      .warn(
        { err: new Error(`refused ${secret}`, { cause }), nested: { list: [secret], [secret]: 1 } },
        `of ${Buffer.from(secret).toString('base64')}`,
      ),
  );
  expect(line).not.toContain('Horse');
  expect(line).not.toContain(Buffer.from(secret).toString('base64').slice(0, 20));
  expect(JSON.parse(line!)).toMatchObject({ level: 40, run: '[redacted]', nested: { list: ['[redacted]'] } });
});

test('what looks like a secret is taken out as well, and the line stays JSON', () => {
  const written = lines((log) => {
    log.info({ headers: { authorization: 'Bearer abc.def-123' } }, 'asked https://user:pw@host/x');
    log.info({ body: '{"api_key":"abcdef"}' }, 'Proxy-Authorization: Digest username="u", response="6629fae4"');
    log.error('-----BEGIN PRIVATE KEY-----\nMIIEvQ');
    log.error({ password: 'a "quoted" one' }, 'password="never closed');
  });
  expect(written.join('')).not.toMatch(/abc\.def|pw@|abcdef|6629fae4|MIIEvQ|quoted|never closed/);
  for (const line of written) {
    expect(line.endsWith('\n')).toBe(true);
    expect(JSON.parse(line)).toMatchObject({ level: expect.any(Number), time: expect.any(Number) });
  }
});

test('a line without secrets is written as it is', () => {
  const [line] = lines((log) => log.info({ runs: 3, max_tokens: 5, key: 'team-a/run' }, 'ready'));
  expect(JSON.parse(line!)).toMatchObject({ msg: 'ready', runs: 3, max_tokens: 5, key: 'team-a/run' });
});
