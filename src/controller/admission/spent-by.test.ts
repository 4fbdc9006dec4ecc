import { describe, expect, test } from 'vitest';
import { at, ms } from '../../runtime/local/testing/clock.ts';
import { aPaidProfile } from '../testing/a-profile.ts';
import { aRun } from '../testing/a-run.ts';
import { spentBy } from './spent-by.ts';

const paid = { name: 'paid', spec: aPaidProfile().spec() };
const dear = aPaidProfile('dear')
  .asking({ pricing: { usdPerRequest: '7' } })
  .spec();
const others = (name: string) => (name === 'dear' ? dear : undefined);
const intent = { requestDigest: 'sha256:a', recordedAt: at(10), notAfter: at(40), deadlineAt: at(3600) };
const run = aRun().within({ uploadSeconds: 60 });

describe('a live run that is let go', () => {
  test('before anything was tried has cost nothing', () => {
    expect(spentBy(run.live(), undefined, others, ms(100))).toBe(0n);
  });

  test('in an attempt has cost its time up to now, the time to let go, and its request', () => {
    const working = run.attempt({ number: 1, intent, externalId: 'x' }).pinnedTo('paid', 'sha256:a');
    expect(spentBy(working.live(), paid, others, ms(110))).toBe(500_000n + 160_000n);
  });

  test('after a fallback took over has cost each attempt at its own price', () => {
    const moved = run
      .attempt({ number: 1, intent, profile: 'dear', finishedAt: at(20) })
      .attempt({ number: 2, intent: { ...intent, recordedAt: at(30) }, profile: 'paid', finishedAt: at(50) })
      .status({ clocks: { queueSeconds: 0, startupSeconds: 0, runSeconds: 30 } });
    expect(spentBy(moved.live(), paid, others, ms(100))).toBe(7_000_000n + 500_000n + 20_000n);
  });

  test('whose profile nobody knows any more may have cost all that it was charged', () => {
    expect(spentBy(run.attempt({ number: 1, intent }).live(), undefined, others, ms(110))).toBeUndefined();
  });
});

describe('a run that has ended', () => {
  const ended = (reason: 'Completed' | 'SubmitUnresolved', costEstimateUSD?: string) => {
    const status = reason === 'Completed' ? ('succeeded' as const) : ('failed' as const);
    return run
      .status({ result: { ...(costEstimateUSD !== undefined && { costEstimateUSD }) } })
      .saying({ is: 'finished', status, reason, message: '', results: undefined })
      .settled();
  };

  test.each([
    ['what its status says', ended('Completed', '1.2500'), 1_250_000n],
    ['all that it was charged, where there was no price', ended('Completed'), undefined],
    ['all that it was charged, where somebody wrote nonsense', ended('Completed', 'cheap'), undefined],
    ['all that it was charged, where the vendor may have its work', ended('SubmitUnresolved', '0.5000'), undefined],
  ])('has cost %s', (_, settled, spent) => {
    expect(spentBy(settled, paid, others, ms(0))).toBe(spent);
  });
});
