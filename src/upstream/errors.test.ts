import { describe, expect, it } from 'vitest';
import { HttpError } from '../net/http.ts';
import { fromHttp, fromStatus, fromUploadStatus, type UpstreamFaultKind } from './errors.ts';
import { actionFor, type Action } from './retry.ts';

const NOW = Date.parse('2026-03-01T12:00:00Z');

describe('fromStatus', () => {
  it.each<[number, UpstreamFaultKind, Action['do']]>([
    [400, 'invalid', 'Reprobe'],
    [401, 'credentials', 'AwaitKey'],
    [402, 'quota', 'AwaitQuota'],
    [403, 'credentials', 'AwaitKey'],
    [404, 'notFound', 'Reprobe'],
    [405, 'notFound', 'Reprobe'],
    [408, 'timeout', 'Retry'],
    [409, 'conflict', 'ReadBack'],
    [412, 'conflict', 'ReadBack'],
    [413, 'tooLarge', 'MoveLog'],
    [418, 'unexpected', 'Reprobe'],
    [422, 'invalid', 'Reprobe'],
    [429, 'throttled', 'Retry'],
    [500, 'unavailable', 'Retry'],
    [502, 'unavailable', 'Retry'],
    [503, 'unavailable', 'Retry'],
    [504, 'unavailable', 'Retry'],
  ])('%i is %s, and asks to %s', (status, kind, action) => {
    const { fault } = fromStatus('post a run', status, {}, undefined, NOW);
    expect(fault.kind).toBe(kind);
    expect(actionFor(fault).do).toBe(action);
  });

  it('reads Retry-After as seconds and as a date', () => {
    for (const value of ['120', 'Sun, 01 Mar 2026 12:02:00 GMT'])
      expect(fromStatus('x', 503, { 'retry-after': value }, undefined, NOW).fault).toEqual({
        kind: 'throttled',
        retryAfterMs: 120_000,
      });
  });

  it('does without a Retry-After that it cannot read', () => {
    expect(fromStatus('x', 503, { 'retry-after': 'soon' }, undefined, NOW).fault.kind).toBe('unavailable');
    expect(fromStatus('x', 429, {}, undefined, NOW).fault).toMatchObject({ kind: 'throttled', retryAfterMs: 30_000 });
  });

  it('keeps of a 422 where the fault is, and nothing of what was sent', () => {
    const detail = [
      { loc: ['body', 'manifest', 'metrics', 'my secret metric'], msg: 'SECRET', input: 'SECRET' },
      { loc: ['body', 'a value with spaces'], msg: 'SECRET' },
      { loc: ['query', 3], msg: 'SECRET' },
      'SECRET',
    ];
    const error = fromStatus('post a run', 422, {}, { detail }, NOW);
    expect(error.fault).toEqual({ kind: 'invalid', locations: ['body.manifest.metrics', 'body.…', 'query.#'] });
    expect(error.message).toBe(
      'post a run: the server found the request wrong (422) at body.manifest.metrics, body.…, query.#',
    );
  });

  it.each([[{ detail: 'there', run_id: 'r-1' }], [{ detail: { run_id: 'r-1' } }], [{ id: 'r-1' }]])(
    'finds the id in the conflict %j',
    (body) => {
      expect(fromStatus('x', 409, {}, body, NOW).fault).toEqual({ kind: 'conflict', id: 'r-1' });
    },
  );

  it.each([[{ run_id: '..' }], [{ detail: { id: 'a\nb' } }], [{ id: 'x'.repeat(129) }], [[]], ['r-1']])(
    'takes nothing for an id that could end up elsewhere than in its place: %j',
    (body) => {
      expect(fromStatus('x', 409, {}, body, NOW).fault).toEqual({ kind: 'conflict', id: undefined });
    },
  );
});

describe('fromUploadStatus', () => {
  it.each([400, 401, 403, 404, 410])('%i of an object store means another URL, never another key', (status) => {
    expect(fromUploadStatus('upload', status, {}, Buffer.alloc(0), NOW).fault.kind).toBe('expired');
  });
  it('knows what is too large for one PUT, which another URL would not help', () => {
    const words = '<?xml version="1.0"?><Error><Code>EntityTooLarge</Code><Message>SECRET</Message></Error>';
    const error = fromUploadStatus('upload', 400, {}, Buffer.from(words), NOW);
    expect(error.fault.kind).toBe('tooLarge');
    expect(error.message).not.toContain('SECRET');
  });
  it('knows the rest as usual', () => {
    expect(fromUploadStatus('upload', 413, {}, Buffer.alloc(0), NOW).fault.kind).toBe('tooLarge');
    expect(fromUploadStatus('upload', 503, {}, Buffer.alloc(0), NOW).fault.kind).toBe('unavailable');
  });
});

it('keeps what became of a request that got no answer', () => {
  expect(fromHttp('x', new HttpError('network', 'POST h: ECONNRESET')).fault.kind).toBe('network');
  expect(fromHttp('x', new HttpError('body', 'cannot be opened')).fault.kind).toBe('source');
  expect(fromHttp('x', new Error('SECRET')).message).not.toContain('SECRET');
});
