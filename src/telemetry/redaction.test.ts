import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fingerprint, type FingerprintSet } from './fingerprints.ts';
import { Redactor, redactText } from './redaction.ts';

const clean = (text: string): string => redactText(text).text;

function redactAll(chunks: Buffer[], fingerprints?: FingerprintSet): Buffer {
  const redactor = new Redactor(fingerprints);
  return Buffer.concat([...chunks.map((chunk) => redactor.push(chunk)), redactor.flush()]);
}

function cutAt(bytes: Buffer, cuts: number[]): Buffer[] {
  const at = [...new Set([0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length])].toSorted((a, b) => a - b);
  return at.slice(1).map((end, i) => bytes.subarray(at[i], end));
}

describe('what looks like a secret', () => {
  it.each([
    ['Authorization: Bearer abc.def-ghi', 'Authorization: [redacted]'],
    ['Authorization: Basic dXNlcjpwYXNz', 'Authorization: [redacted]'],
    ['curl -H "Authorization: Bearer abcdefgh" https://x', 'curl -H "Authorization: [redacted]" https://x'],
    ['{"Authorization": "Basic dXNlcjpwYXNz", "x": 1}', '{"Authorization": "[redacted]", "x": 1}'],
    ['got bearer abcdef123', 'got bearer [redacted]'],
    ['password=hunter2', 'password=[redacted]'],
    ['password = hunter2', 'password = [redacted]'],
    ["password='a b c' rest", "password='[redacted]' rest"],
    ['{"api_key": "x y", "n": 2}', '{"api_key": "[redacted]", "n": 2}'],
    ['{\\"api_key\\": \\"x y\\", \\"n\\": 2}', '{\\"api_key\\": \\"[redacted]\\", \\"n\\": 2}'],
    ['access_key=AKIAIOSFODNN7EXAMPLE', 'access_key=[redacted]'],
    ['export AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG', 'export AWS_SECRET_ACCESS_KEY=[redacted]'],
    ['private_key=abc pwd=def passwd=ghi', 'private_key=[redacted] pwd=[redacted] passwd=[redacted]'],
    ["os.environ['HF_TOKEN'] = 'short'", "os.environ['HF_TOKEN'] = '[redacted]'"],
    ['--token abcdef --x 1', '--token [redacted] --x 1'],
    ['Cookie: a=b; c=d', 'Cookie: [redacted]'],
    ['Set-Cookie: sid=1\r', 'Set-Cookie: [redacted]\r'],
    ['key AKIAIOSFODNN7EXAMPLE used', 'key [redacted] used'],
    ['wbx_abc12345 and wfx_abc12345', '[redacted] and [redacted]'],
    ['hf_abcdefghijklmnopqrstuvwxyz012345', '[redacted]'],
    ['r8_abcdefghijklmnopqrstuvwxyz0123456789a', '[redacted]'],
    ['sk-proj-abcdefghijklmnop1234', '[redacted]'],
    ['ak-4BXbF1h2Jk3lMn0pQrStUv as-9ZyXwVuTsRqPoNmLkJiHgF', '[redacted] [redacted]'],
    ['ghp_abcdefghijklmnopqrstuvwxyz0123456789', '[redacted]'],
    ['eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP', '[redacted]'],
    ['postgres://u:pw@h/db', 'postgres://[redacted]@h/db'],
    ['postgres://u:p@w@h/db', 'postgres://[redacted]@h/db'],
    [
      'https://b.s3.amazonaws.com/k?X-Amz-Signature=ab12&x=1',
      'https://b.s3.amazonaws.com/k?X-Amz-Signature=[redacted]&x=1',
    ],
    ['https://h/p?a=1&token=abc#f', 'https://h/p?a=1&token=[redacted]'],
    ['a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabcd\n-----END RSA PRIVATE KEY-----\nb', 'a\n[redacted]\nb'],
    ['"-----BEGIN PRIVATE KEY-----\\nMIIE\\n-----END PRIVATE KEY-----\\n" x', '"[redacted]\\n" x'],
  ])('is taken out of %j', (text, expected) => {
    expect(clean(text)).toBe(expected);
  });

  it.each([
    'max_tokens=5',
    'tokens: 512, token_count: 7',
    'tokens: [101, 2023]',
    'tokens_per_sec=512.3',
    'tokenizer=gpt2 tokenizer_path: /x',
    "eos_token='</s>'",
    'token=None auth=false password: null',
    'PWD=/worldflux/source',
    'secret_name=prod password_file=/run/x',
    'basic training of the model as-is, task-related, as-expected-behaviour',
    'Authorization is needed',
    'https://example.com/a@b?x=1',
    'loss=0.5 step=10 key=loss',
    'a bearer of news',
  ])('is not seen in %j', (text) => {
    expect(redactText(text)).toEqual({ text, count: 0 });
  });

  it('hides no more than 16 KiB behind a private key without an end', () => {
    const text = `-----BEGIN PRIVATE KEY-----\n${'log line\n'.repeat(4000)}`;
    expect(clean(text).length).toBeGreaterThan(text.length - 17 * 1024);
  });

  it('costs linear time on hostile text', () => {
    const pieces = [
      'token=',
      'eyJ',
      'eyJ.',
      '://',
      'cookie:',
      'bearer ',
      '-----BEGIN PRIVATE KEY-----',
      'sk-',
      'hf_',
      '\\"',
      'password="',
      '?key=',
      'basic ',
      "token='\\",
      'a@',
      '--token ',
    ];
    // In quadratic time a single window of one of these would take longer than the test may.
    for (const piece of pieces) {
      const text = piece.repeat(Math.ceil((2 * 2 ** 20) / piece.length));
      expect(redactAll([Buffer.from(text)]).length).toBeLessThanOrEqual(text.length + 2 ** 20);
    }
  });
});

const bytesOf = (parts: string[]): Buffer => Buffer.from(parts.join(''), 'utf8');

describe('the stream', () => {
  const noise = fc.array(
    fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.constantFrom(
        '\n',
        '\r\n',
        ' ',
        '"',
        "'",
        'token=',
        'password: ',
        '\\',
        '&',
        '://',
        '@',
        'Bearer ',
        'x'.repeat(3000),
      ),
      fc.integer({ min: 0, max: 70_000 }).map((n) => 'y '.repeat(n / 2)),
    ),
    { maxLength: 20 },
  );
  const value = fc.string({
    unit: fc.constantFrom(...'ABCDEFGHabcdefgh0123456789+/=-_.~%'),
    minLength: 6,
    maxLength: 300,
  });

  it('comes out the same however it is cut', () => {
    fc.assert(
      fc.property(noise, value, noise, fc.array(fc.nat(), { maxLength: 12 }), (before, secret, after, cuts) => {
        const set = fingerprint([Buffer.from(secret)]);
        const bytes = bytesOf([...before, secret, ...after, secret]);
        const whole = redactAll([bytes], set);
        expect(redactAll(cutAt(bytes, cuts), set).equals(whole)).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  it('comes out the same byte by byte', () => {
    fc.assert(
      fc.property(noise, (parts) => {
        const bytes = bytesOf(parts).subarray(0, 5000);
        expect(redactAll(cutAt(bytes, [...bytes.keys()])).equals(redactAll([bytes]))).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  it('never lets a known value through, in any encoding, wherever it stands', () => {
    const encodings: ((secret: string) => string)[] = [
      (s) => s,
      (s) => Buffer.from(s).toString('base64'),
      (s) => Buffer.from(s).toString('base64url'),
      (s) => Buffer.from(`user:${s}`).toString('base64'),
      (s) => Buffer.from(s).toString('hex'),
      (s) => encodeURIComponent(s),
      (s) => JSON.stringify(s).slice(1, -1),
    ];
    fc.assert(
      fc.property(
        noise,
        value,
        fc.constantFrom(...encodings),
        noise,
        fc.array(fc.nat(), { maxLength: 6 }),
        (before, secret, encode, after, cuts) => {
          const planted = encode(secret);
          const bytes = bytesOf([...before, planted, ...after]);
          const out = redactAll(cutAt(bytes, cuts), fingerprint([Buffer.from(secret)])).toString('latin1');
          expect(out).not.toContain(planted);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('never lets a planted key through', () => {
    const plant = fc.constantFrom<(s: string) => string>(
      (s) => `hf_${s}`,
      (s) => `wbx_${s}`,
      (s) => `sk-${s}`,
      (s) => `password=${s}`,
      (s) => `"api_key": "${s}"`,
      (s) => `Authorization: Bearer ${s}`,
      (s) => `https://user:${s}@host/path`,
      (s) => `https://host/path?a=b&X-Amz-Signature=${s}`,
      (s) => `-----BEGIN PRIVATE KEY-----\n${s}\n-----END PRIVATE KEY-----`,
      (s) => `Cookie: id=${s}`,
    );
    const secret = fc.string({
      unit: fc.constantFrom(...'ABCDEFGHabcdefgh0123456789'),
      minLength: 20,
      maxLength: 6000,
    });
    fc.assert(
      fc.property(
        noise,
        plant,
        secret,
        noise,
        fc.array(fc.nat(), { maxLength: 6 }),
        (before, make, planted, after, cuts) => {
          // A line break before: what stands before on the same line may already be a value of its own, and end here.
          const bytes = bytesOf([...before, '\n', make(planted), '\n', ...after]);
          expect(redactAll(cutAt(bytes, cuts)).toString('latin1')).not.toContain(planted);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('passes bytes that are no text', () => {
    const bytes = Buffer.from([0, 0xff, 0xfe, 0x80, 0x0a, 0xc3, 0x28, 0x00]);
    expect(redactAll([bytes]).equals(bytes)).toBe(true);
  });

  it('takes no harm from values that are too short or only spaces', () => {
    const set = fingerprint([Buffer.from('abc'), Buffer.from('          '), Buffer.alloc(0)]);
    expect(redactAll([Buffer.from('abc           x')], set).toString()).toBe('abc           x');
  });

  it('finds the lines of a value of many lines', () => {
    const set = fingerprint([Buffer.from('first line\nsecond line of it')]);
    const out = redactAll([Buffer.from('INFO first line\nINFO second line of it\n')], set).toString();
    expect(out).toBe('INFO [redacted]\nINFO [redacted]\n');
  });

  it('counts one place once', () => {
    const secret = 'abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-and-more-of-it';
    const redactor = new Redactor(fingerprint([Buffer.from(secret)]));
    expect(Buffer.concat([redactor.push(Buffer.from(`a ${secret} b`)), redactor.flush()]).toString()).toBe(
      'a [redacted] b',
    );
    expect(redactor.replaced).toBe(1);
  });
});
