import { describe, expect, test } from 'vitest';
import { errorFromAnswer, errorFromNetwork, isKubeError } from './errors.ts';

const status = (code: number, reason: string, more: object = {}) =>
  JSON.stringify({ kind: 'Status', code, reason, message: `it is ${reason}`, ...more });

describe('an answer becomes an error by what can be done about it', () => {
  test.each([
    [404, 'NotFound', 'notFound'],
    [409, 'AlreadyExists', 'alreadyExists'],
    [409, 'Conflict', 'conflict'],
    [410, 'Expired', 'gone'],
    [403, 'Forbidden', 'forbidden'],
    [401, 'Unauthorized', 'unauthorized'],
    [422, 'Invalid', 'invalid'],
    [400, 'BadRequest', 'invalid'],
    [429, 'TooManyRequests', 'tooManyRequests'],
    [504, 'Timeout', 'timeout'],
    [503, 'ServiceUnavailable', 'unavailable'],
    [500, 'InternalError', 'serverError'],
    [405, 'MethodNotAllowed', 'unexpected'],
  ] as const)('%i %s is %s', (code, reason, kind) => {
    const error = errorFromAnswer('GET /x', code, status(code, reason));
    expect(error).toMatchObject({ kind, status: code, reason, message: `GET /x: it is ${reason}` });
    expect(isKubeError(error, kind)).toBe(true);
    expect(isKubeError(error, kind === 'gone' ? 'notFound' : 'gone')).toBe(false);
  });

  test('the fields that were refused are listed', () => {
    const details = { causes: [{ reason: 'FieldValueRequired', message: 'Required value', field: 'spec.image' }] };
    expect(errorFromAnswer('POST /x', 422, status(422, 'Invalid', { details })).causes).toEqual([
      { field: 'spec.image', reason: 'FieldValueRequired', message: 'Required value' },
    ]);
  });

  test('the delay comes from the header, else from the body, else is a second', () => {
    const body = status(429, 'TooManyRequests', { details: { retryAfterSeconds: 7 } });
    expect(errorFromAnswer('GET /x', 429, body, '3')).toMatchObject({ retryAfterMs: 3000 });
    expect(errorFromAnswer('GET /x', 429, body)).toMatchObject({ retryAfterMs: 7000 });
    expect(errorFromAnswer('GET /x', 429, '')).toMatchObject({ retryAfterMs: 1000 });
    expect(errorFromAnswer('GET /x', 429, '', 'Wed, 21 Oct 2026 07:28:00 GMT')).toMatchObject({ retryAfterMs: 1000 });
    expect(errorFromAnswer('GET /x', 503, '', '9')).toMatchObject({ kind: 'unavailable', retryAfterMs: 9000 });
  });

  test('a body that is no Status is quoted, and cut when it is a whole page', () => {
    expect(errorFromAnswer('GET /x', 502, '<html>bad gateway</html>')).toMatchObject({
      kind: 'unavailable',
      message: 'GET /x: <html>bad gateway</html>',
    });
    expect(errorFromAnswer('GET /x', 500, '{"kind":"Oth').message).toBe('GET /x: {"kind":"Oth');
    expect(errorFromAnswer('GET /x', 500, 'y'.repeat(5000)).message.length).toBeLessThan(400);
    expect(errorFromAnswer('GET /x', 500, '').message).toBe('GET /x: HTTP 500');
  });
});

describe('a network failure', () => {
  test('keeps its cause and names its code', () => {
    const cause = Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' });
    expect(errorFromNetwork('GET /x', cause)).toMatchObject({ kind: 'unavailable', reason: 'ECONNRESET', cause });
  });

  test('is a timeout when the library gave up waiting', () => {
    const cause = Object.assign(new Error('late'), { code: 'UND_ERR_HEADERS_TIMEOUT' });
    expect(errorFromNetwork('GET /x', cause)).toMatchObject({ kind: 'timeout' });
  });

  test('is not wrapped twice', () => {
    const error = errorFromAnswer('GET /x', 404, '');
    expect(errorFromNetwork('GET /y', error)).toBe(error);
  });
});

test('other errors are not KubeErrors, whatever they carry', () => {
  expect(isKubeError(Object.assign(new Error('x'), { kind: 'notFound' }))).toBe(false);
  expect(isKubeError(undefined)).toBe(false);
});
