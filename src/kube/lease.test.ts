import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { errorFromAnswer } from './errors.ts';
import { LeaderElector, NotLeaderError } from './lease.ts';
import type { ElectionEnd, LeaderElectorOptions } from './lease.ts';
import { microTime } from './micro-time.ts';
import { MemoryLease } from './testing/memory-lease.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

interface Candidate {
  readonly elector: LeaderElector;
  readonly epochs: number[];
  readonly errors: unknown[];
  readonly stop: AbortController;
  /** How `run` ended, once it has. */
  readonly end: () => ElectionEnd | undefined;
  readonly ended: Promise<ElectionEnd>;
}

function campaign(server: MemoryLease, identity: string, options: Partial<LeaderElectorOptions> = {}): Candidate {
  const epochs: number[] = [];
  const errors: unknown[] = [];
  const stop = new AbortController();
  const elector = new LeaderElector({
    client: server.client,
    namespace: 'worldflux',
    name: 'operator',
    identity,
    lead: async (epoch, signal) => {
      epochs.push(epoch);
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    },
    onError: (error) => errors.push(error),
    ...options,
  });
  let end: ElectionEnd | undefined;
  const ended = elector.run(stop.signal).then((how) => (end = how));
  onTestFinished(() => stop.abort());
  return { elector, epochs, errors, stop, ended, end: () => end };
}

const pass = (seconds: number) => vi.advanceTimersByTimeAsync(seconds * 1000);

test('a leader that died is followed when its lease has run out, not at some later look', async () => {
  vi.spyOn(Math, 'random').mockReturnValue(0.99);
  onTestFinished(() => void vi.restoreAllMocks());
  const server = new MemoryLease();
  server.lease = {
    metadata: { namespace: 'worldflux', name: 'operator', resourceVersion: '0' },
    spec: { holderIdentity: 'dead', leaseDurationSeconds: 15, leaseTransitions: 7, renewTime: microTime(new Date()) },
  };
  const b = campaign(server, 'b');
  await pass(14.9);
  expect(b.epochs).toEqual([]);
  await pass(0.3);
  expect(b.epochs).toEqual([8]);
});

describe('who leads, as the others know it', () => {
  test('is read from the Lease, with the address at which it is reached, until the Lease has run out', async () => {
    const server = new MemoryLease();
    const a = campaign(server, 'a', { address: '10.0.0.1:8443' });
    await pass(0);
    const b = campaign(server, 'b');
    await pass(3);
    expect(b.elector.holder()).toEqual({ identity: 'a', address: '10.0.0.1:8443' });
    expect(a.elector.holder()).toBeUndefined();
    server.fault = () => Promise.reject(new Error('cut off'));
    await pass(10);
    expect(b.elector.holder()).toMatchObject({ identity: 'a' });
    await pass(10);
    expect(b.elector.holder()).toBeUndefined();
  });

  test('is nobody once it was given up, and nobody’s address is left to a successor that says none', async () => {
    const server = new MemoryLease();
    const a = campaign(server, 'a', { address: '10.0.0.1:8443' });
    await pass(0);
    const b = campaign(server, 'b');
    a.stop.abort();
    await a.ended;
    expect(a.elector.holder()).toBeUndefined();
    await pass(3);
    expect(b.elector.isLeader()).toBe(true);
    const d = campaign(server, 'd');
    await pass(3);
    expect(d.elector.holder()).toEqual({ identity: 'b', address: undefined });
  });
});

describe('a term', () => {
  test('begins at once on a new Lease, and is renewed for as long as it goes well', async () => {
    const server = new MemoryLease();
    const a = campaign(server, 'a');
    await pass(0);
    expect(a.epochs).toEqual([1]);
    expect(a.elector.assertLeader()).toBe(1);
    expect(server.lease?.spec).toMatchObject({ holderIdentity: 'a', leaseDurationSeconds: 15, leaseTransitions: 1 });
    await pass(600);
    expect(a.elector.isLeader()).toBe(true);
    expect(a.epochs).toEqual([1]);
    expect(a.errors).toEqual([]);
  });

  test('is given up on stop, after the work has settled, and the next begins at once with a higher epoch', async () => {
    const server = new MemoryLease();
    const working = Promise.withResolvers<void>();
    const a = campaign(server, 'a', { lead: () => working.promise });
    await pass(1);
    const b = campaign(server, 'b');
    a.stop.abort();
    await pass(5);
    expect([a.end(), b.epochs]).toEqual([undefined, []]);
    expect(a.elector.isLeader()).toBe(true);
    working.resolve();
    await a.ended;
    expect(a.elector.isLeader()).toBe(false);
    expect(server.lease?.spec?.holderIdentity).toBe('');
    await pass(3);
    expect([a.end(), b.epochs]).toEqual(['stopped', [2]]);
  });

  test('is given up even if its last renewal was under way when it ended', async () => {
    const server = new MemoryLease();
    const a = campaign(server, 'a');
    await pass(0);
    server.fault = (call, when) => (call === 'replace' && when === 'after' ? new Promise(() => {}) : undefined);
    await pass(3);
    server.fault = () => {};
    a.stop.abort();
    await a.ended;
    expect(server.lease?.spec?.holderIdentity).toBe('');
    expect(a.errors).toEqual([]);
  });

  test('never has the epoch of an earlier one, even under the same name or after the Lease was lost', async () => {
    const server = new MemoryLease();
    const first = campaign(server, 'same');
    await pass(0);
    server.fault = (call) => {
      if (call === 'replace') throw errorFromAnswer('PUT lease', 503, '');
    };
    first.stop.abort();
    await first.ended;
    server.fault = () => {};
    const second = campaign(server, 'same');
    await pass(20);
    expect(second.epochs).toEqual([2]);
    second.stop.abort();
    await second.ended;
    server.lease = undefined;
    const third = campaign(server, 'other', { highestKnownEpoch: () => 41 });
    await pass(3);
    expect(third.epochs).toEqual([42]);
  });

  test('that is cut off by an error of its work still gives the Lease up', async () => {
    const server = new MemoryLease();
    const a = campaign(server, 'a', { lead: () => Promise.reject(new Error('work')) });
    await expect(a.ended).rejects.toThrow('work');
    expect(server.lease?.spec?.holderIdentity).toBe('');
  });
});

describe('leadership is lost', () => {
  test('when renewals fail for the renew deadline, well before anybody else may take over', async () => {
    const server = new MemoryLease();
    const a = campaign(server, 'a');
    await pass(0);
    const b = campaign(server, 'b');
    server.fault = (call) => {
      if (call === 'replace') throw errorFromAnswer('PUT lease', 503, '');
    };
    await pass(9.9);
    expect(a.elector.isLeader()).toBe(true);
    await pass(0.2);
    expect(a.elector.isLeader()).toBe(false);
    expect(() => a.elector.assertLeader()).toThrow(NotLeaderError);
    expect([a.end(), b.epochs]).toEqual(['lost', []]);
    server.fault = () => {};
    await pass(9);
    expect(b.epochs).toEqual([2]);
  });

  test('when the request hangs rather than fails', async () => {
    const server = new MemoryLease();
    const a = campaign(server, 'a');
    await pass(0);
    server.fault = (call) => (call === 'replace' ? new Promise(() => {}) : undefined);
    await pass(10.1);
    expect(a.elector.isLeader()).toBe(false);
  });

  test('by a paused process, from its first instruction on: no timer needs to have fired', async () => {
    const server = new MemoryLease();
    const a = campaign(server, 'a');
    await pass(1);
    // What SIGSTOP does: the clock goes on, and nothing of ours runs.
    vi.setSystemTime(Date.now() + 11_000);
    vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 11_000);
    expect(a.elector.isLeader()).toBe(false);
    expect(() => a.elector.assertLeader()).toThrow(NotLeaderError);
    vi.mocked(performance.now).mockRestore();
  });

  test('at once when another holder is found', async () => {
    const server = new MemoryLease();
    const a = campaign(server, 'a');
    await pass(0);
    const { metadata, spec } = server.lease!;
    server.lease = {
      metadata: { ...metadata!, resourceVersion: '99' },
      spec: { ...spec, holderIdentity: 'thief', leaseTransitions: 2 },
    };
    await pass(3);
    expect([a.end(), a.elector.isLeader()]).toEqual(['lost', false]);
    expect(server.lease.spec?.holderIdentity).toBe('thief');
  });

  test('not by a single renewal whose answer got lost', async () => {
    const server = new MemoryLease();
    const a = campaign(server, 'a');
    await pass(0);
    let lost = 0;
    server.fault = (call, when) => {
      if (call === 'replace' && when === 'after' && lost++ === 0) throw errorFromAnswer('PUT lease', 504, '');
    };
    await pass(60);
    expect([a.elector.isLeader(), a.end(), lost > 1]).toEqual([true, undefined, true]);
    expect(a.errors).toMatchObject([{ kind: 'timeout' }]);
  });
});

describe('others', () => {
  test('are judged by how long their renewal was seen not to change, never by their clock', async () => {
    const server = new MemoryLease();
    const longAgo = microTime(new Date(0));
    server.lease = {
      metadata: { name: 'operator', resourceVersion: '1' },
      spec: { holderIdentity: 'x', renewTime: longAgo, leaseDurationSeconds: 15, leaseTransitions: 7 },
    };
    const b = campaign(server, 'b');
    await pass(14);
    expect(b.epochs).toEqual([]);
    server.lease.spec!.renewTime = microTime(new Date(1));
    await pass(14);
    expect(b.epochs).toEqual([]);
    await pass(5);
    expect(b.epochs).toEqual([8]);
  });

  test('of two that race for a free Lease one wins, and the other reports nothing', async () => {
    const server = new MemoryLease();
    const all = ['a', 'b', 'c'].map((identity) => campaign(server, identity));
    await pass(60);
    expect(all.flatMap((candidate) => candidate.epochs)).toEqual([1]);
    expect(all.flatMap((candidate) => candidate.errors)).toEqual([]);
    expect(all.filter((candidate) => candidate.elector.isLeader())).toHaveLength(1);
  });

  test('stop waiting when they are told to', async () => {
    const server = new MemoryLease();
    campaign(server, 'a');
    await pass(0);
    const b = campaign(server, 'b');
    await pass(5);
    b.stop.abort();
    await pass(0);
    expect([b.end(), b.epochs]).toEqual(['stopped', []]);
  });
});

test('intervals that cannot work are refused', () => {
  expect(() => campaign(new MemoryLease(), 'a', { renewDeadlineMs: 15_000 })).toThrow(RangeError);
});

test('MicroTime has six digits', () => {
  expect(microTime(new Date('2026-11-20T10:15:00.261Z'))).toBe('2026-11-20T10:15:00.261000Z');
});
