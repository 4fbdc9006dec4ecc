import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { plain, renamed, withoutLedger } from '../fakes/worldflux/dialects.ts';
import type { Fault, RouteName } from '../fakes/worldflux/faults.ts';
import { openApiOf } from '../fakes/worldflux/openapi.ts';
import { ManualClock } from './sync/manual-clock.ts';
import { SyncWorld, until, type WorldOptions } from './sync/world.ts';

/** A target that answers what no honest server would: nothing of it may pass for success, cost a storm, or take the key away. */

let world: SyncWorld;
let elsewhere: Server | undefined;
afterEach(async () => {
  await world.close();
  elsewhere?.close();
  elsewhere = undefined;
});

async function open(options: WorldOptions = {}): Promise<ManualClock> {
  const clock = new ManualClock();
  world = await SyncWorld.open({ clock, ...options, fake: { now: () => clock.now(), ...options.fake } });
  return clock;
}
const reasonOf = (uid: string) => world.conditionOf(uid)?.reason;
const countOf = (route: RouteName) => world.fake.traffic.of(route).length;
const said = (uid: string, reason: string) =>
  until(`${reason}, last seen ${reasonOf(uid)}`, () => reasonOf(uid) === reason);
const weights = { checkpoint: Buffer.from('weights') };
const answers = (on: RouteName, status: number, more: Partial<NonNullable<Fault['answer']>> = {}): Fault => ({
  on,
  answer: { status, ...more },
});

function expectOnce(): void {
  expect(world.fake.state.runs.size).toBe(1);
  expect([...world.fake.state.committedCopies().values()]).toEqual([1]);
  expect(world.fake.traffic.violations).toEqual([]);
}

const PAGE = '<html><body>We will be back soon.</body></html>';
const HUGE = JSON.stringify({ id: 'x'.repeat(2 ** 21) });
const DEEP = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;

describe('200 with something else than an answer', () => {
  const everyRoute: RouteName[] = ['openapi', 'projects', 'ledgerRead', 'runs', 'initiate', 'commit', 'ledgerWrite'];
  it.each<[string, RouteName, string]>([
    ...everyRoute.map((on): [string, RouteName, string] => ['a page for people', on, PAGE]),
    ['seventeen megabytes', 'openapi', JSON.stringify({ openapi: '3.1.0', paths: {}, info: 'x'.repeat(17e6) })],
    ['two megabytes', 'runs', HUGE],
    ['JSON too deep to walk', 'openapi', `{"openapi":"3.1.0","paths":{},"info":${DEEP}}`],
  ])('%s from %s: never taken for success, and one run arrives', async (_, on, body) => {
    const clock = await open();
    world.fake.faults.add(answers(on, 200, { body }));
    const run = await world.addRun({ artifacts: weights });
    world.start();
    await clock.runUntil(() => reasonOf(run.uid) === 'Synced');
    expectOnce();
    expect([...world.fake.state.ledgers.values()].map((heads) => heads.length)).toEqual([1]);
    expect(world.fake.faults.unused).toBe(0);
    expect(world.writes.map(({ condition }) => condition.reason)).not.toContain('RecordUnreadable');
  });

  it('is no accepted run, where no ledger would show it either', async () => {
    const clock = await open({ fake: { dialect: withoutLedger } });
    world.fake.faults.intercept = (on) => (on === 'openapi' ? undefined : { answer: { status: 200, body: PAGE } });
    const run = await world.addRun();
    world.start();
    await said(run.uid, 'ContractMismatch');
    expect(world.conditionOf(run.uid)?.message).toBe('post a run: the answer is not JSON');
    world.fake.faults.intercept = undefined;
    await clock.runUntil(() => reasonOf(run.uid) === 'Synced');
    expect(world.fake.state.runs.size).toBe(1);
  });

  it('is no manifest that differs: a conflict whose read-back is no JSON stays open', async () => {
    const clock = await open();
    world.fake.state.rules.runReplay = 'conflict';
    world.fake.faults.add({ on: 'runs', cut: 'after' }, answers('readManifest', 200, { body: DEEP }));
    const run = await world.addRun({ artifacts: weights });
    world.start();
    await clock.runUntil(() => reasonOf(run.uid) === 'Synced');
    const reasons = new Set(world.writes.map(({ condition }) => condition.reason));
    expect(reasons).toContain('ContractMismatch');
    expect(reasons).not.toContain('RecordUnreadable');
    expectOnce();
  });
});

describe('Retry-After', () => {
  it.each(['0', 'Sun, 01 Mar 2026 11:00:00 GMT'])(
    '%s, said for ever: the target is asked ever more rarely, not in a loop',
    async (value) => {
      const clock = await open();
      world.fake.faults.intercept = (on) =>
        on === 'ledgerRead' ? { answer: { status: 429, headers: { 'retry-after': value } } } : undefined;
      const run = await world.addRun();
      const started = clock.now();
      world.start();
      await clock.runUntil(() => countOf('ledgerRead') === 7);
      expect(reasonOf(run.uid)).toBe('TargetThrottled');
      expect(clock.now() - started).toBeGreaterThan(120_000);
    },
  );

  it('of the year 9999 is not believed: it is asked again after a day', async () => {
    const clock = await open();
    const far = { 'retry-after': 'Fri, 31 Dec 9999 23:59:59 GMT' };
    world.fake.faults.add(answers('ledgerRead', 503, { headers: far }));
    const run = await world.addRun();
    world.start();
    await said(run.uid, 'TargetThrottled');
    const next = Date.parse(world.run(run.uid).status?.nextAttemptAt ?? '');
    expect(next - clock.now()).toBeGreaterThan(23 * 3600_000);
    expect(next - clock.now()).toBeLessThanOrEqual(24 * 3600_000);
  });
});

describe('another API than before', () => {
  it('is read anew when a route is gone, and the run arrives by the new ones', async () => {
    const clock = await open({ fake: { dialect: renamed } });
    world.fake.faults.add(answers('openapi', 200, { body: openApiOf(plain) }));
    const run = await world.addRun({ artifacts: weights });
    world.start();
    await said(run.uid, 'ContractMismatch');
    await clock.runUntil(() => reasonOf(run.uid) === 'Synced');
    expect(world.fake.state.runs.size).toBe(1);
    expect([...world.fake.state.committedCopies().values()]).toEqual([1]);
    expect(world.profileCondition('ContractVerified')?.message).toContain('PUT /api/v2/sync/run');
  });

  it('fails to describe itself, and works: the documented routes are used', async () => {
    await open();
    world.fake.faults.add({ ...answers('openapi', 500), times: 100 });
    const run = await world.addRun({ artifacts: weights });
    world.start();
    await said(run.uid, 'Synced');
    expectOnce();
    expect(world.profileCondition('ContractVerified')?.status).toBe('Unknown');
  });

  it('is served without a list of projects, a health route or a look-up of runs: names and documented words do', async () => {
    await open();
    world.fake.faults.intercept = (on) =>
      ['health', 'findRun'].includes(on)
        ? { answer: { status: 404 } }
        : on === 'projects'
          ? { answer: { status: 403 } }
          : undefined;
    world.fake.faults.add(answers('runs', 201, { body: { status: 'accepted' } }));
    const run = await world.addRun();
    world.start();
    await said(run.uid, 'Synced');
    expect(world.run(run.uid).status?.cloudRunId).toBeUndefined();
  });

  it('lists its projects in pages: one that is not on the first is not called missing', async () => {
    await open();
    world.fake.faults.add(answers('projects', 200, { body: { items: [{ id: 'p-1', slug: 'other' }], total: 2 } }));
    const run = await world.addRun();
    world.start();
    await said(run.uid, 'Synced');
  });
});

describe('an upload host', () => {
  async function serveElsewhere(): Promise<{ url: string; seen: { auth: string | undefined; body: string }[] }> {
    const seen: { auth: string | undefined; body: string }[] = [];
    elsewhere = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
      seen.push({ auth: request.headers.authorization, body: Buffer.concat(chunks).toString() });
      response.end();
    }).listen(0, '127.0.0.1');
    await once(elsewhere, 'listening');
    return { url: `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/moved`, seen };
  }

  it('may redirect a PUT to another host that the guard allows, which gets the bytes and no key', async () => {
    await open();
    const { url, seen } = await serveElsewhere();
    world.fake.faults.add(answers('upload', 307, { headers: { location: url } }));
    // The stand-in has not seen the bytes itself.
    world.fake.faults.add(answers('commit', 200, { body: {} }));
    const run = await world.addRun({ artifacts: weights });
    world.start();
    await said(run.uid, 'Synced');
    expect(seen).toEqual([{ auth: undefined, body: 'weights' }]);
  });

  it('may not redirect a PUT to where the guard allows nothing, nor turn it into a read', async () => {
    await open();
    world.fake.faults.add(answers('upload', 307, { headers: { location: 'http://169.254.169.254/latest/' } }));
    const run = await world.addRun({ artifacts: weights });
    world.start();
    await said(run.uid, 'URLRefused');
    expect(world.conditionOf(run.uid)?.message).not.toContain('latest');
    const { url, seen } = await serveElsewhere();
    world.fake.faults.add(answers('upload', 303, { headers: { location: url } }));
    world.changeRun(run.uid, { request: 'now' });
    await until('answered', () => world.run(run.uid).status?.request === 'now');
    expect(reasonOf(run.uid)).toBe('URLRefused');
    expect(seen).toEqual([]);
  });

  it('that thanks for an upload before it has the bytes is sent them again', async () => {
    const clock = await open();
    world.fake.faults.add(answers('upload', 200));
    const run = await world.addRun({ artifacts: { big: Buffer.alloc(20_000_000) } });
    world.start();
    await said(run.uid, 'UploadFailed');
    await clock.runUntil(() => reasonOf(run.uid) === 'Synced');
    expectOnce();
  });

  it('that takes less in one PUT than an artifact has says so once, and is not sent it for ever', async () => {
    const clock = await open();
    world.fake.state.rules.maxPutBytes = 1_000_000;
    const run = await world.addRun({ artifacts: { big: Buffer.alloc(4_000_000), small: Buffer.from('small') } });
    world.start();
    await said(run.uid, 'ArtifactsSkipped');
    expect(world.run(run.uid).status?.artifacts).toEqual([
      { name: 'big', state: 'Skipped', message: 'larger than the target takes in one upload' },
      { name: 'small', state: 'Committed' },
    ]);
    await clock.advance(900_000);
    expect(countOf('upload')).toBe(2);
    expect([...world.fake.state.artifacts.values()].map(({ state }) => state)).toEqual(['aborted', 'committed']);
  });
});

describe('the ledger', () => {
  it('has a run once, also when the answer to its move was lost while another run waited', async () => {
    const clock = await open();
    const [first, second] = [await world.addRun(), await world.addRun()];
    world.fake.faults.add({ on: 'ledgerWrite', cut: 'after' });
    world.start();
    await said(first.uid, 'TargetUnavailable');
    await clock.runUntil(() => [first, second].every(({ uid }) => reasonOf(uid) === 'Synced'));
    expect([...world.fake.state.ledgers.values()].map((heads) => heads.length)).toEqual([2]);
  });

  it('has a run once, also when a person asks to post it once more', async () => {
    await open();
    const [first, second] = [await world.addRun(), await world.addRun()];
    world.start();
    await said(second.uid, 'Synced');
    world.changeRun(first.uid, { request: 'once more' });
    await until('answered', () => world.run(first.uid).status?.request === 'once more');
    expect(countOf('runs')).toBe(3);
    expect([...world.fake.state.ledgers.values()].map((heads) => heads.length)).toEqual([2]);
  });
});
