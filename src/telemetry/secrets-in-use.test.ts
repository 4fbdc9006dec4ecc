import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Redactor } from './redaction.ts';
import { redact, SecretsInUse, secretsInUse, withoutSecrets } from './secrets-in-use.ts';

const holding = (...values: string[]): SecretsInUse => {
  const secrets = new SecretsInUse();
  secrets.add(values, 'secret/a/b');
  return secrets;
};

describe('values of Secrets in use', () => {
  it('are taken out of streams as well, each as long as its owner has it', () => {
    const secrets = holding('opaque-first-value');
    const cleaned = (text: string): string => {
      const redactor = new Redactor(secrets.fingerprints());
      return Buffer.concat([redactor.push(Buffer.from(text)), redactor.flush()]).toString();
    };
    expect(cleaned('say opaque-first-value')).toBe('say [redacted]');
    for (let n = 0; n < 500; n += 1)
      secrets.add([`opaque-value-of-namespace-${n}-abcdefghijklmnop`], `secret/${n}/key`);
    expect(cleaned('say opaque-value-of-namespace-499-abcdefghijklmnop')).toBe('say [redacted]');
    secrets.remove('secret/a/b');
    expect(cleaned('say opaque-first-value')).toContain('first');
  });

  it('are taken out of the words of others, wherever they stand', () => {
    expect(holding('correct horse battery').mask('the key correct horse battery is not accepted')).toBe(
      'the key [redacted] is not accepted',
    );
  });

  it('are found in every encoding, among words that are as random', () => {
    const encode: ((value: string) => string)[] = [
      (value) => value,
      (value) => Buffer.from(value).toString('base64'),
      (value) => Buffer.from(value).toString('base64url'),
      (value) => Buffer.from(`user:${value}`).toString('base64'),
      (value) => Buffer.from(value).toString('hex').toUpperCase(),
      encodeURIComponent,
      (value) => JSON.stringify(value),
    ];
    const value = fc.string({ unit: fc.constantFrom(...'ABCDefgh0123+/=-_."\\ %'), minLength: 10, maxLength: 80 });
    fc.assert(
      fc.property(
        value.filter((text) => text.trim() === text),
        fc.constantFrom(...encode),
        fc.string(),
        fc.string(),
        (secret, write, before, after) => {
          const written = write(secret);
          const masked = holding('another-secret', secret, `${secret}-longer`).mask(`${before} ${written} ${after}`);
          expect(masked).not.toContain(written.replace(/=+$/, ''));
          expect(masked.startsWith(`${before} `)).toBe(true);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('count while their owner has them, and a rotated one still does', () => {
    const secrets = holding('the-first-value');
    secrets.add(['the-second-value'], 'secret/a/b');
    secrets.add(['the-first-value'], 'secret/c/d');
    expect(secrets.mask('the-first-value the-second-value')).toBe('[redacted] [redacted]');
    secrets.remove('secret/a/b');
    expect(secrets.mask('the-first-value the-second-value')).toBe('[redacted] the-second-value');
    secrets.remove('secret/c/d');
    expect(secrets.mask('the-first-value')).toBe('the-first-value');
  });

  it('of a few characters hide nothing, or every text would lose its words', () => {
    expect(holding('prod', 'a', '', '        ').mask('prod is a word          ')).toBe('prod is a word          ');
  });

  it('that change without end do not gather', () => {
    const secrets = new SecretsInUse();
    for (let n = 0; n < 100; n += 1) secrets.add([`short-lived-${String(n).padStart(3, '0')}`], 'secret/a/b');
    expect(secrets.mask('short-lived-000')).toBe('short-lived-000');
    expect(secrets.mask('short-lived-099')).toBe('[redacted]');
  });
});

it('a document stays the same one as long as there is nothing to hide, and the same JSON otherwise', () => {
  const status = { manifest: { 'metric-tango-uniform': 1 }, list: ['say "tango-uniform"', 7, null] };
  expect(withoutSecrets(status)).toBe(status);
  secretsInUse.add(['tango-uniform'], 'test');
  try {
    expect(withoutSecrets(status)).toEqual({
      manifest: { 'metric-[redacted]': 1 },
      list: ['say "[redacted]"', 7, null],
    });
    expect(redact('password=tango-uniform; token tango-uniform')).toBe('password=[redacted]; token [redacted]');
  } finally {
    secretsInUse.remove('test');
  }
});
