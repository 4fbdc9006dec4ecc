import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  makeProviderEvent,
  sanitizeMetadata,
  sanitizeTarget,
  sanitizeText,
  type Json,
  type ProviderEvent,
  type ProviderEventInput,
} from './provider-event.ts';
import { LogSink, ProviderEvents, type ProviderEventSink } from './provider-events.ts';

const call: ProviderEventInput = { provider: 'replicate', operation: 'task poll', phase: 'success' };

describe('an event', () => {
  test('that says only what happened', () => {
    expect(makeProviderEvent(call)).toEqual({
      provider: 'replicate',
      operation: 'task poll',
      phase: 'success',
      attempt: 1,
      max_attempts: 1,
      method: null,
      target: null,
      status_code: null,
      duration_ms: null,
      message: '',
      metadata: {},
    });
  });

  test('that says everything', () => {
    const event = makeProviderEvent({
      ...call,
      provider: ' replicate ',
      phase: 'retry',
      attempt: 1,
      maxAttempts: 3,
      method: 'get',
      target: 'https://user:pw@api.example.com/v1/tasks/7?token=abc#x',
      statusCode: 503,
      durationMs: 12.5,
      message: 'busy',
      capability: 'generate',
      metadata: { next_delay_seconds: 0.25 },
      runId: '20261120T101500Z-1a2b3c4d',
      requestId: ' r ',
      traceId: 't',
      spanId: 's',
      artifactId: 'a',
      inputDigest: 'sha256:00',
    });
    expect(event).toEqual({
      provider: 'replicate',
      operation: 'task poll',
      phase: 'retry',
      attempt: 1,
      max_attempts: 3,
      method: 'GET',
      target: 'https://api.example.com/v1/tasks/7',
      status_code: 503,
      duration_ms: 12.5,
      message: 'busy',
      metadata: { next_delay_seconds: 0.25, capability: 'generate' },
      run_id: '20261120T101500Z-1a2b3c4d',
      request_id: 'r',
      trace_id: 't',
      span_id: 's',
      artifact_id: 'a',
      input_digest: 'sha256:00',
    });
  });

  test.each<[string, Partial<ProviderEventInput>]>([
    ['provider', { provider: ' ' }],
    ['operation', { operation: '' }],
    ['phase', { phase: 'done' as 'success' }],
    ['attempt', { attempt: 0 }],
    ['attempt', { attempt: 1.5 }],
    ['maxAttempts', { attempt: 3, maxAttempts: 2 }],
    ['statusCode', { statusCode: 600 }],
    ['durationMs', { durationMs: Number.NaN }],
    ['durationMs', { durationMs: -1 }],
    ['metadata', { metadata: { x: Number.POSITIVE_INFINITY } }],
    ['metadata', { metadata: { x: new Date() as unknown as Json } }],
  ])('is refused for its %s: %o', (field, wrong) => {
    expect(() => makeProviderEvent({ ...call, ...wrong })).toThrow(new RegExp(`^${field}:`));
  });
});

describe('a target', () => {
  test.each([
    ['', null],
    ['   ', null],
    ['/v1/tasks/7', '/v1/tasks/7'],
    ['/v1/x?token=1', '/v1/x'],
    ['?a=b', '[redacted]'],
    ['host:5555', 'host:5555'],
    ['HTTPS://Host/Path', 'https://Host/Path'],
    ['https://u:p@h/x?y#z', 'https://h/x'],
    ['https://u:p@q@h/x', 'https://h/x'],
    ['//u@h/x', '//h/x'],
    ['http://[::1/', 'http://[::1/'],
    ['http://[::1/?a=b', 'http://[::1/'],
    ['redis://:pw@cache:6379/0', 'redis://cache:6379/0'],
    ['Error: foo', 'Error: foo'],
    ['/v1/keys/sk-abcdefghijklmnopqrst', '/v1/keys/[redacted]'],
  ])('%j becomes %j', (raw, shown) => expect(sanitizeTarget(raw)).toBe(shown));
});

describe('a text', () => {
  test.each([
    ['see https://a.example/x?sig=1&y=2 and more', 'see https://a.example/x and more'],
    ['HTTPS://U:P@a.example/x?token=1', 'https://a.example/x'],
    ['got Authorization: Basic dXNlcjpwYXNz', 'got Authorization: [redacted]'],
    ['password = hunter2', 'password = [redacted]'],
    ['max_tokens=5, tokens: 7', 'max_tokens=5, tokens: 7'],
    ['postgres://u:pw@h/db', 'postgres://[redacted]@h/db'],
  ])('%j becomes %j', (raw, shown) => expect(sanitizeText(raw)).toBe(shown));

  test('of a megabyte is short, and a secret on the edge of what is kept is not halved', () => {
    const text = sanitizeText(`${'x'.repeat(985)} hf_abcdefghijklmnopqrstuvwxyz ${'y'.repeat(1_000_000)}`);
    expect(text.length).toBe(1000);
    expect(text).not.toContain('hf_');
  });
});

describe('metadata', () => {
  test('loses what stands under secret-like names, whatever it is, and keeps counts', () => {
    expect(
      sanitizeMetadata({
        api_key: 'a',
        'Api-Key': { deep: 'a' },
        signed_url: ['https://x'],
        cookie: 'c',
        key: 'k',
        password: 12345,
        token_count: 5,
        max_tokens: 7,
        token: 9,
        bytes: 3,
        nested: { list: [{ secret: 'x', note: 'bearer abcdef123' }] },
      }),
    ).toEqual({
      api_key: '[redacted]',
      'Api-Key': '[redacted]',
      signed_url: '[redacted]',
      cookie: '[redacted]',
      key: '[redacted]',
      password: '[redacted]',
      token_count: 5,
      max_tokens: 7,
      token: 9,
      bytes: 3,
      nested: { list: [{ secret: '[redacted]', note: 'bearer [redacted]' }] },
    });
  });

  test('of any depth and size stays small and is still JSON', () => {
    const deep = (levels: number): Json => (levels === 0 ? 'end' : { in: deep(levels - 1) });
    expect(JSON.stringify(sanitizeMetadata({ deep: deep(200) })).length).toBeLessThan(200);
    expect(sanitizeMetadata({ many: Array.from({ length: 64 }, () => 'word '.repeat(100)) })).toEqual({
      omitted: 'larger than 8 KiB',
    });
  });
});

test('a known value goes wherever it stands', () => {
  const secret = 'plain-words-nobody-would-suspect';
  const redact = (text: string): string => text.replaceAll(secret, '[redacted]');
  const event = makeProviderEvent(
    {
      ...call,
      target: `/v1/${secret}/x`,
      message: `the vendor says ${secret}`,
      metadata: { [secret]: 'x', nested: [{ note: secret }] },
      runId: secret,
    },
    redact,
  );
  expect(JSON.stringify(event)).not.toContain(secret);
});

test('each sink has a copy of its own, and one that fails is counted and keeps nobody else from its copy', () => {
  const seen: ProviderEvent[] = [];
  const lost: string[] = [];
  const vandal: ProviderEventSink = {
    name: 'vandal',
    accept(event) {
      Object.assign(event.metadata, { bytes: 'changed' });
      throw new Error('broken');
    },
  };
  const keeper: ProviderEventSink = { name: 'keeper', accept: (event) => void seen.push(event) };
  const events = new ProviderEvents({ sinks: [vandal, keeper], onLost: (sink) => lost.push(sink) });
  events.emit({ ...call, metadata: { bytes: 3 } });
  expect(seen.map(({ metadata }) => metadata)).toEqual([{ bytes: 3 }]);
  expect(lost).toEqual(['vandal']);
});

test('whatever is emitted, and whatever the one who counts does, nothing is thrown', () => {
  const events = new ProviderEvents({
    sinks: [{ name: 'any', accept() {} }],
    onLost: () => {
      throw new Error('nor here');
    },
  });
  fc.assert(fc.property(fc.anything(), (event) => events.emit(event as ProviderEventInput)));
});

test('a log line is an event with its type, and only what went wrong is loud', () => {
  const lines: [string, object][] = [];
  const to = (level: string) => (line: object) => void lines.push([level, line]);
  const log = { debug: to('debug'), info: to('info'), warn: to('warn') };
  const lost: string[] = [];
  const events = new ProviderEvents({ sinks: [new LogSink(log as never)], onLost: (sink) => lost.push(sink) });
  for (const phase of ['success', 'retry', 'failure', 'budget_exceeded'] as const)
    events.emit({ ...call, phase, profile: 'p' });
  expect(lines.map(([level]) => level)).toEqual(['debug', 'info', 'warn', 'warn']);
  expect(lost).toEqual([]);
  expect(lines[0]?.[1]).toMatchObject({ event_type: 'provider_event', provider: 'replicate', profile: 'p' });
});
