import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Schedule, type Entry, type Lane } from './schedule.ts';
import type { TargetSession } from './target-session.ts';

const yes = () => true;
const session = (lane: string) => ({ target: { lane } }) as unknown as TargetSession;
const entryOf = (lane: Lane, finishedAt: number, dueAt = 0): Entry => ({
  run: { finishedAt, clientRunId: `c${finishedAt}` } as Entry['run'],
  lane,
  project: 'p',
  queuedAt: 0,
  dueAt,
  attempts: 0,
  failures: 0,
  again: false,
  pass: undefined,
  ended: undefined,
  record: undefined,
});

describe('Schedule', () => {
  it('gives the oldest first, lanes in turn, and never more than allowed', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(3), fc.nat(1000)), { minLength: 1, maxLength: 60 }),
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 1, max: 3 }),
        (runs, total, perTarget) => {
          const schedule = new Schedule({ total, perTarget }, () => perTarget);
          const lanes = [0, 1, 2, 3].map((n) => schedule.open(session(String(n))));
          for (const [lane, finishedAt] of runs) schedule.add(entryOf(lanes[lane] as Lane, finishedAt));
          const order: number[][] = [[], [], [], []];
          const busy: Entry[] = [];
          for (let left = runs.length; left > 0;) {
            for (let next = schedule.take(1, yes); next !== undefined; next = schedule.take(1, yes)) {
              busy.push(next);
              order[lanes.indexOf(next.lane)]?.push(next.run.finishedAt);
            }
            expect(schedule.running).toBeLessThanOrEqual(total);
            for (const lane of lanes) expect(lane.running).toBeLessThanOrEqual(perTarget);
            const done = busy.shift();
            if (done === undefined) throw new Error('nothing may start, and nothing runs');
            schedule.finished(done);
            schedule.remove(done);
            left -= 1;
          }
          for (const lane of order) expect(lane).toEqual(lane.toSorted((a, b) => a - b));
          expect(schedule.waiting).toBe(0);
        },
      ),
    );
  });

  it('keeps the order of a blocked lane, and serves the others', () => {
    const schedule = new Schedule({ total: 4, perTarget: 1 }, () => 1);
    const [blocked, open] = [schedule.open(session('a')), schedule.open(session('b'))];
    blocked.blockedUntil = 100;
    const [first, second, other] = [entryOf(blocked, 1), entryOf(blocked, 2), entryOf(open, 3)];
    for (const entry of [second, first, other]) schedule.add(entry);
    expect(schedule.take(50, yes)).toBe(other);
    expect(schedule.take(50, yes)).toBeUndefined();
    expect(schedule.wakeAt(50)).toBe(100);
    expect(schedule.take(100, yes)).toBe(first);
  });

  it('lets a run that failed on its own account wait aside', () => {
    const schedule = new Schedule({ total: 4, perTarget: 1 }, () => 1);
    const lane = schedule.open(session('a'));
    const [poison, next] = [entryOf(lane, 1, 500), entryOf(lane, 2)];
    for (const entry of [poison, next]) schedule.add(entry);
    expect(schedule.take(1, yes)).toBe(next);
    schedule.finished(next);
    schedule.remove(next);
    expect(schedule.wakeAt(1)).toBe(500);
  });

  it('sends one at a time to a target that has failed, until it works again', () => {
    const schedule = new Schedule({ total: 8, perTarget: 4 }, () => 4);
    const lane = schedule.open(session('a'));
    for (let n = 0; n < 4; n += 1) schedule.add(entryOf(lane, n));
    lane.failures = 1;
    expect([schedule.take(1, yes), schedule.take(1, yes)].filter((e) => e !== undefined)).toHaveLength(1);
  });
});
