import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { AttemptStatus } from '../crds/world-run-status.ts';
import { actualCostUSD, ceilingUSD, elsewhereOf, requestsSent, spentUSD, usedUntil } from './cost.ts';
import { formatUSD, parseUSD, timesSeconds } from './money.ts';
import { aPaidProfile, aProfile } from './testing/a-profile.ts';
import { aRun } from './testing/a-run.ts';

const amount = fc.tuple(fc.nat(999_999_999), fc.nat(999_999)).map(([whole, rest]) => {
  const digits = String(rest).padStart(6, '0').replace(/0+$/, '');
  return {
    text: digits === '' ? String(whole) : `${whole}.${digits}`,
    micro: BigInt(whole) * 1_000_000n + BigInt(rest),
  };
});

describe('amounts', () => {
  test('are read exactly, whatever their size', () => {
    fc.assert(
      fc.property(amount, ({ text, micro }) => {
        expect(parseUSD(text)).toBe(micro);
      }),
    );
  });

  test.each(['', '1.', '.5', '-1', '1e3', '1.0000001', ' 1', 'cheap'])('%j is none', (text) => {
    expect(() => parseUSD(text)).toThrow('not an amount');
  });

  test('are shown with four digits and never as less than they are', () => {
    fc.assert(
      fc.property(amount, ({ micro }) => {
        const shown = parseUSD(formatUSD(micro));
        expect(shown >= micro && shown - micro < 100n).toBe(true);
      }),
    );
    expect(formatUSD(1n)).toBe('0.0001');
  });

  test('a thousand small ones add up, as floats do not', () => {
    const sum = Array.from({ length: 1000 }, () => parseUSD('0.1')).reduce((a, b) => a + b);
    expect(formatUSD(sum)).toBe('100.0000');
  });

  test('time is charged in full: never less than price × seconds', () => {
    const seconds = fc.double({ min: 0, max: 1e7, noNaN: true });
    fc.assert(
      fc.property(fc.nat(10_000_000), seconds, (price, time) => {
        const charged = Number(timesSeconds(BigInt(price), time, 3600));
        // A millisecond and a micro dollar of rounding, and the float's own.
        expect(charged).toBeGreaterThanOrEqual(((price * time) / 3600) * (1 - 1e-9));
        expect(charged).toBeLessThanOrEqual((price * (time + 0.0011)) / 3600 + 1.001 + price * 1e-6);
      }),
    );
  });
});

const paid = aPaidProfile().spec();
const bought = (number: number, more: Partial<AttemptStatus> = {}): AttemptStatus => ({
  number,
  intent: {
    requestDigest: 'sha256:a',
    recordedAt: '2026-01-01T00:00:00Z',
    notAfter: '2026-01-01T00:00:30Z',
    deadlineAt: '2026-01-01T01:00:00Z',
  },
  finishedAt: '2026-01-01T00:01:00Z',
  ...more,
});

describe('the most that a run can cost', () => {
  const hour = aRun().within({ startupSeconds: 1800, runSeconds: 1800 });
  const job = aProfile()
    .local({ gpu: { count: 4 } })
    .asking({ pricing: { usdPerGPUHour: '2.45', usdPerNodeHour: '0.1' } })
    .spec();

  test('of a Job: nodes × (GPUs and the node itself), for as long as its clocks let it', () => {
    expect(ceilingUSD(hour.live().spec, job)).toBe(9_900_000n);
    expect(ceilingUSD(hour.onNodes(3).live().spec, job)).toBe(29_700_000n);
    expect(ceilingUSD(hour.retrying(9).live().spec, job)).toBe(9_900_000n);
  });

  test('at a vendor: its time, and each try is bought', () => {
    expect(ceilingUSD(hour.live().spec, paid)).toBe(3_600_000n + 500_000n);
    expect(ceilingUSD(hour.retrying(3).live().spec, paid)).toBe(3_600_000n + 1_500_000n);
  });

  test('requests that a suspension made useless come on top', () => {
    const status = {
      attempts: [1, 2, 3].map((number) => bought(number, { counted: false, reason: 'Suspended' })),
      attemptCount: 3,
      uncountedAttempts: 3,
    };
    expect(ceilingUSD(hour.live().spec, paid, status)).toBe(3_600_000n + 2_000_000n);
  });

  test('tries that failed were bought already: they are not counted twice', () => {
    const status = { attempts: [bought(1), bought(2)], attemptCount: 2 };
    expect(ceilingUSD(hour.retrying(3).live().spec, paid, status)).toBe(3_600_000n + 1_500_000n);
  });

  test('without a price for the kind of work there is none', () => {
    expect(ceilingUSD(hour.live().spec, aProfile().spec())).toBeUndefined();
    expect(
      ceilingUSD(
        hour.live().spec,
        aPaidProfile()
          .asking({ pricing: { usdPerGPUHour: '1' } })
          .spec(),
      ),
    ).toBeUndefined();
  });

  test('with a fallback: what the profile before has taken comes on top, at its own price', () => {
    const dear = aPaidProfile()
      .asking({ pricing: { usdPerSecond: '0.1', usdPerRequest: '5' } })
      .spec();
    const run = hour.retrying(2).live();
    // A minute and a request there; one more request here.
    const status = { attempts: [bought(1, { profile: 'dear' })], attemptCount: 1 };
    const elsewhere = elsewhereOf({ spec: run.spec, status }, { name: 'paid', spec: paid }, () => dear);
    expect(elsewhere).toEqual({ used: { seconds: 60, requests: 1 }, usd: 11_000_000n });
    expect(ceilingUSD(run.spec, paid, status, elsewhere)).toBe(11_000_000n + 3_600_000n + 500_000n);
    expect(actualCostUSD(run.spec, paid, { seconds: 100, requests: 2 }, { elsewhere })).toBe('11.5400');
  });

  test('profiles that were passed over have taken nothing', () => {
    const attempts = [
      { number: 1, profile: 'dear', counted: false, reason: 'ProfileNotReady', finishedAt: '2026-01-01T00:00:00Z' },
    ];
    const run = { spec: hour.live().spec, status: { attempts, attemptCount: 1 } };
    expect(elsewhereOf(run, { name: 'paid', spec: paid }, () => paid)).toEqual({
      used: { seconds: 0, requests: 0 },
      usd: 0n,
    });
  });
});

describe('what a run did cost', () => {
  const { spec } = aRun().live();

  test('its seconds and its requests', () => {
    expect(actualCostUSD(spec, paid, { seconds: 90.5, requests: 2 })).toBe('1.0905');
    expect(spentUSD(spec, aProfile().spec(), { seconds: 90, requests: 0 })).toBeUndefined();
  });

  test('what the runtime reports of the last attempt wins, and the attempts before stay', () => {
    const used = { seconds: 100, requests: 2 };
    expect(actualCostUSD(spec, paid, used, { reported: { usd: 7, seconds: 40 } })).toBe('7.5600');
    expect(actualCostUSD(spec, aProfile().spec(), used, { reported: { usd: 0.25, seconds: 100 } })).toBe('0.2500');
  });

  test.each([Number.NaN, -1, Infinity])('a report of %d is none', (usd) => {
    expect(actualCostUSD(spec, paid, { seconds: 10, requests: 1 }, { reported: { usd, seconds: 10 } })).toBe('0.5100');
  });

  test('requests of attempts that are no longer listed count as sent', () => {
    expect(
      requestsSent({ attempts: [bought(20), { number: 21, counted: false, profile: 'q' }], attemptCount: 21 }),
    ).toBe(20);
  });
});

describe('what a live run has used so far', () => {
  const now = Date.parse('2026-01-01T00:10:00Z');
  const run = aRun().within({ uploadSeconds: 60 }).live();
  const clocks = { queueSeconds: 1000, startupSeconds: 20, runSeconds: 30 };

  test('is what its clocks say, between attempts', () => {
    const status = { clocks, attempts: [bought(1)], attemptCount: 1 };
    expect(usedUntil({ spec: run.spec, status }, now)).toEqual({ seconds: 50, requests: 1 });
  });

  test('counts an open attempt from its intent, and the time to let go', () => {
    const status = { clocks, attempts: [bought(1, { finishedAt: undefined })], attemptCount: 1 };
    expect(usedUntil({ spec: run.spec, status }, now)).toEqual({ seconds: 50 + 600 + 60, requests: 1 });
  });
});
