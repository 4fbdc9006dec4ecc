import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatTerminationMessage, parseTerminationMessage } from './termination-message.ts';

const OF = { rank: 0, podUid: 'p', collectedAt: '2026-01-01T00:00:00Z' };

describe('the termination message', () => {
  it('brings metrics back, and always fits', () => {
    const metrics = fc.dictionary(
      fc.string({ minLength: 1, maxLength: 128 }),
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      { maxKeys: 256 },
    );
    fc.assert(
      fc.property(
        metrics,
        fc.nat(),
        fc.option(fc.string({ maxLength: 512 }), { nil: undefined }),
        (all, metricsOmitted, metricsProblem) => {
          const message = formatTerminationMessage({
            metrics: all,
            metricsOmitted,
            ...(metricsProblem === undefined ? {} : { metricsProblem }),
          });
          expect(Buffer.byteLength(message)).toBeLessThanOrEqual(2048);
          const parsed = parseTerminationMessage(message, OF);
          expect(parsed).toMatchObject({ ...OF, via: 'TerminationMessage', artifacts: [] });
          const kept = Object.keys(parsed?.metrics ?? {}).length;
          expect(kept + (parsed?.metricsOmitted ?? 0)).toBe(Object.keys(all).length + metricsOmitted);
          for (const [name, value] of Object.entries(parsed?.metrics ?? {}))
            expect(value + 0).toBe((all[name] ?? NaN) + 0);
        },
      ),
    );
  });

  it('says how many did not fit', () => {
    const metrics = Object.fromEntries(Array.from({ length: 256 }, (_, i) => [`metric-number-${i}`, i]));
    const parsed = parseTerminationMessage(formatTerminationMessage({ metrics, metricsOmitted: 0 }), OF);
    expect(Object.keys(parsed?.metrics ?? {}).length).toBeGreaterThan(50);
    expect(parsed?.metricsProblem).toMatch(/^\d+ more did not fit into the termination message$/);
  });

  it('is found behind other text, and only when it is whole', () => {
    const message = formatTerminationMessage({ metrics: { a: 1 }, metricsOmitted: 0 });
    expect(parseTerminationMessage(`noise\n${message}`, OF)?.metrics).toEqual({ a: 1 });
    expect(parseTerminationMessage(message.slice(0, -1), OF)).toBeUndefined();
    for (const text of [
      '',
      'OOMKilled',
      'worldflux/1 \n',
      'worldflux/1 []\n',
      'worldflux/1 {"metrics":{"a":"1"},"omitted":0}\n',
      'worldflux/1 {"metrics":{},"omitted":-1}\n',
    ]) {
      expect({ text, parsed: parseTerminationMessage(text, OF) }).toEqual({ text, parsed: undefined });
    }
  });
});
