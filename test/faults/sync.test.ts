import { afterEach, describe, expect, it } from 'vitest';
import { readAll } from '../../src/results/documents.ts';
import { demanding, nested, plain, renamed, withoutArtifacts } from '../fakes/worldflux/dialects.ts';
import type { Fault, RouteName } from '../fakes/worldflux/faults.ts';
import { TEST_KEY, TEST_WORKSPACE } from '../fakes/worldflux/server.ts';
import { ManualClock } from './sync/manual-clock.ts';
import { SyncWorld, until, type WorldOptions } from './sync/world.ts';

/** What the sync queue does when the target, the network, the key or a person does something else than hoped. */

let world: SyncWorld;
afterEach(() => world.close());

async function open(options?: WorldOptions): Promise<SyncWorld> {
  world = await SyncWorld.open(options);
  return world;
}
const reasonOf = (uid: string) => world.conditionOf(uid)?.reason;
const routes = () => world.fake.traffic.requests.map(({ route }) => route);
const countOf = (route: RouteName) => world.fake.traffic.of(route).length;
const said = (uid: string, reason: string) =>
  until(`${reason}, last seen ${reasonOf(uid)}`, () => reasonOf(uid) === reason);
const inStore = async (prefix: string): Promise<[string, string][]> => {
  const found: [string, string][] = [];
  for await (const { key } of world.store.list(prefix)) {
    const object = await world.store.get(key);
    if (object !== undefined) found.push([key, (await readAll(object)).toString('utf8')]);
  }
  return found;
};
const weights = { checkpoint: Buffer.from('weights') };

describe('a finished run', () => {
  it.each([plain, nested])('arrives with its log and its committed artifacts ($name)', async (dialect) => {
    await open({ fake: { dialect } });
    const run = await world.addRun({
      artifacts: weights,
      kept: { video: Buffer.from('frames') },
      log: 'step 1\nstep 2\n',
    });
    world.start();
    await said(run.uid, 'Synced');
    const inOrder = [
      'openapi',
      'health',
      'projects',
      'ledgerRead',
      'runs',
      'initiate',
      'upload',
      'commit',
      'ledgerWrite',
    ];
    expect(routes()).toEqual(inOrder);
    const [there] = world.fake.state.runs.values();
    expect(there).toMatchObject({
      clientRunId: run.clientRunId,
      metrics: { loss: 0.25, steps: 1000 },
      logLines: ['step 1', 'step 2'],
    });
    expect([...world.fake.state.committedCopies()]).toEqual([[`${run.clientRunId}/checkpoint/checkpoint`, 1]]);
    expect(world.run(run.uid).status).toMatchObject({ attempts: 1, cloudRunId: there?.id, project: 'demo-box' });
    expect(world.run(run.uid).status?.lastError).toBeUndefined();
    expect(world.profileCondition('ContractVerified')?.status).toBe('True');
    expect(world.fake.traffic.violations).toEqual([]);
    expect(world.writes).toHaveLength(1);
  });

  it('finds routes under other names, and sends the log as an artifact where a run has no place for lines', async () => {
    await open({ fake: { dialect: renamed } });
    const run = await world.addRun({ artifacts: weights, log: 'step 1\n' });
    world.start();
    await said(run.uid, 'Synced');
    expect([...world.fake.state.committedCopies().values()]).toEqual([1, 1]);
    expect(world.run(run.uid).status?.artifacts?.map(({ name }) => name)).toEqual(['checkpoint', 'log']);
    expect(world.profileCondition('ContractVerified')?.message).toContain('PUT /api/v2/sync/run');
    expect(world.fake.traffic.violations).toEqual([]);
  });

  it('is sent to the documented routes where no OpenAPI is served', async () => {
    await open({ fake: { hideOpenApi: true } });
    const run = await world.addRun({ artifacts: weights });
    world.start();
    await said(run.uid, 'Synced');
    expect(world.profileCondition('ContractVerified')).toMatchObject({
      status: 'Unknown',
      reason: 'ContractNotServed',
    });
  });

  it('waits where the contract asks for what nobody knows, and sends nothing', async () => {
    await open({ fake: { dialect: demanding } });
    const run = await world.addRun();
    world.start();
    await said(run.uid, 'ContractMismatch');
    expect(world.conditionOf(run.uid)?.message).toContain('residency_zone');
    expect(world.profileCondition('ContractVerified')).toMatchObject({ status: 'False', reason: 'ContractDiffers' });
    expect(countOf('runs')).toBe(0);
  });

  it('arrives without its artifacts where there is no artifact channel, and says so', async () => {
    await open({ fake: { dialect: withoutArtifacts } });
    const [bare, full] = [await world.addRun(), await world.addRun({ artifacts: weights })];
    world.start();
    await said(bare.uid, 'Synced');
    await said(full.uid, 'ContractMismatch');
    expect(world.fake.state.runs.size).toBe(2);
    expect(world.run(full.uid).status).toMatchObject({ artifacts: [{ name: 'checkpoint', state: 'Pending' }] });
  });

  it('is sent once for two WorldRuns with one record', async () => {
    await open();
    const run = await world.addRun({ artifacts: weights });
    world.runs.set('twin', { ...run, uid: 'twin', name: 'twin' });
    world.queue.setRun(world.run('twin'));
    world.start();
    await said(run.uid, 'Synced');
    await said('twin', 'Synced');
    expect(world.fake.state.runs.size).toBe(1);
    expect(countOf('runs')).toBe(1);
    expect(countOf('initiate')).toBe(1);
  });

  it('never posts another manifest under an id that is taken', async () => {
    await open();
    const run = await world.addRun();
    world.start();
    await said(run.uid, 'Synced');
    world.runs.clear();
    const rerun = await world.addRun({ name: run.name, manifest: { metrics: { loss: 0.1 } } });
    expect(rerun.clientRunId).toBe(run.clientRunId);
    await said(rerun.uid, 'SyncConflict');
    expect(countOf('runs')).toBe(1);
  });
});

const answers = (on: RouteName, status: number, more: Partial<NonNullable<Fault['answer']>> = {}): Fault => ({
  on,
  answer: { status, ...more },
});

describe('the retry table', () => {
  it.each<[string, Fault[], string, string]>([
    ['500', [answers('runs', 500)], 'TargetUnavailable', 'post a run: the server failed (500)'],
    ['503 without a time', [answers('runs', 503)], 'TargetUnavailable', 'the server failed (503)'],
    ['a lost connection', [{ on: 'runs', cut: 'before' }], 'TargetUnavailable', 'post a run:'],
    ['a lost answer', [{ on: 'runs', cut: 'after' }], 'TargetUnavailable', 'post a run:'],
    ['429', [answers('runs', 429, { headers: { 'retry-after': '120' } })], 'TargetThrottled', 'asks to wait'],
    [
      '503 with a time',
      [answers('ledgerRead', 503, { headers: { 'retry-after': '120' } })],
      'TargetThrottled',
      'asks to wait',
    ],
    ['402', [answers('runs', 402)], 'SyncQuotaExceeded', 'quota'],
    ['404 on a sync route', [answers('runs', 404)], 'ContractMismatch', 'no such thing (404)'],
    [
      '422',
      [
        answers('runs', 422, {
          body: { detail: [{ loc: ['body', 'manifest', 'metrics'], msg: 'SECRET', input: 'SECRET' }] },
        }),
      ],
      'ContractMismatch',
      'at body.manifest.metrics',
    ],
    ['an unforeseen status', [answers('runs', 418)], 'ContractMismatch', '418'],
    ['no health', [answers('health', 500)], 'TargetUnavailable', 'health'],
    ['no ledger', [{ on: 'ledgerRead', cut: 'before' }], 'TargetUnavailable', 'read the ledger head'],
    ['a failing upload', [answers('upload', 500)], 'TargetUnavailable', 'upload an artifact'],
    ['a lost commit', [{ on: 'commit', cut: 'after' }], 'TargetUnavailable', 'commit an artifact'],
    ['a lost ledger move', [{ on: 'ledgerWrite', cut: 'after' }], 'TargetUnavailable', 'set the ledger head'],
  ])('%s: says so, waits, and succeeds with one run and one copy', async (_, faults, reason, words) => {
    const clock = new ManualClock();
    await open({ clock, fake: { now: () => clock.now() } });
    world.fake.faults.add(...faults);
    const run = await world.addRun({ artifacts: weights, log: 'line\n' });
    world.start();
    await said(run.uid, reason);
    expect(world.conditionOf(run.uid)?.message).toContain(words);
    expect(JSON.stringify(world.writes)).not.toContain('SECRET');
    const next = Date.parse(world.run(run.uid).status?.nextAttemptAt ?? '');
    expect(next).toBeGreaterThanOrEqual(Math.floor(clock.now() / 1000) * 1000);
    await clock.runUntil(() => reasonOf(run.uid) === 'Synced');
    expect(world.fake.state.runs.size).toBe(1);
    expect([...world.fake.state.committedCopies().values()]).toEqual([1]);
    expect([...world.fake.state.ledgers.values()].map((heads) => heads.length)).toEqual([1]);
    const bodies = new Set(world.fake.traffic.of('runs').map(({ body }) => body?.toString()));
    expect(bodies.size).toBe(1);
    expect(world.fake.faults.unused).toBe(0);
    expect(world.run(run.uid).status).toMatchObject({ attempts: 2 });
  });

  it('obeys Retry-After to the second, for every run of the target', async () => {
    const clock = new ManualClock();
    await open({ clock });
    world.fake.faults.add(answers('ledgerRead', 429, { headers: { 'retry-after': '600' } }));
    const [first, second] = [await world.addRun(), await world.addRun()];
    world.start();
    await said(first.uid, 'TargetThrottled');
    const before = world.fake.traffic.requests.length;
    await clock.advance(599_000);
    expect(world.fake.traffic.requests.length).toBe(before);
    expect(reasonOf(second.uid)).toBe('WaitingForTurn');
    await clock.advance(2000);
    await said(second.uid, 'Synced');
  });

  it('keeps Retry-After over a restart', async () => {
    const clock = new ManualClock();
    await open({ clock });
    world.fake.faults.add(answers('ledgerRead', 429, { headers: { 'retry-after': '600' } }));
    const run = await world.addRun();
    await world.addRun();
    world.start();
    await said(run.uid, 'TargetThrottled');
    world.kill();
    world.restart();
    await clock.advance(598_000);
    expect(countOf('ledgerRead')).toBe(1);
    await clock.runUntil(() => reasonOf(run.uid) === 'Synced');
  });

  it('moves the log to the artifact channel once, after 413', async () => {
    await open({ fake: { bodyLimit: 4000 } });
    const run = await world.addRun({ log: 'a line of the log\n'.repeat(500) });
    world.start();
    await said(run.uid, 'Synced');
    expect(countOf('runs')).toBe(2);
    expect(world.fake.state.artifacts.size).toBe(1);
    expect(world.run(run.uid).status?.artifacts).toEqual([{ name: 'log', state: 'Committed' }]);
  });

  it('stops where not even the record fits', async () => {
    await open({ fake: { bodyLimit: 300 } });
    const run = await world.addRun({ log: 'line\n' });
    world.start();
    await said(run.uid, 'PayloadTooLarge');
    expect(world.run(run.uid).status?.nextAttemptAt).toBeUndefined();
    expect(world.queue.waiting).toBe(0);
  });

  it('takes 409 for success where the same manifest is there, by the id in the answer or by looking it up', async () => {
    await open();
    world.fake.state.rules.runReplay = 'conflict';
    world.fake.faults.add({ on: 'runs', cut: 'after' });
    const run = await world.addRun({ artifacts: weights });
    world.start();
    await said(run.uid, 'TargetUnavailable');
    world.changeRun(run.uid, { request: 'now' });
    await said(run.uid, 'Synced');
    expect(countOf('readManifest')).toBe(1);
    expect(world.fake.state.runs.size).toBe(1);
  });

  it('says SyncConflict where something else is there, and stays so until a person asks', async () => {
    await open();
    const run = await world.addRun();
    world.fake.state.postRun(TEST_WORKSPACE, {
      client_run_id: run.clientRunId,
      project: 'demo-box',
      manifest: { client_run_id: 'other' },
    });
    world.start();
    await said(run.uid, 'SyncConflict');
    expect(world.queue.waiting + world.queue.running).toBe(0);
    world.fake.state.runs.clear();
    world.changeRun(run.uid, { request: '1' });
    await said(run.uid, 'Synced');
    expect(world.run(run.uid).status?.request).toBe('1');
  });

  it('reads the ledger again after a conflict, once', async () => {
    await open();
    const heads = world.fake.state.ledger(TEST_WORKSPACE, 'demo-box');
    world.fake.faults.add({ on: 'ledgerWrite', before: () => heads.push('moved by somebody else') });
    const run = await world.addRun();
    world.start();
    await said(run.uid, 'Synced');
    expect(heads).toHaveLength(2);
    expect(countOf('ledgerRead')).toBe(2);
    world.fake.faults.add({ on: 'ledgerWrite', times: 2, before: () => heads.push(`again ${heads.length}`) });
    const next = await world.addRun();
    await said(next.uid, 'LedgerConflict');
  });
});

describe('keys', () => {
  it('stops at 401 until the Secret holds another key, and sends the refused one no more', async () => {
    const clock = new ManualClock();
    await open({ clock });
    world.fake.state.rotateKey(TEST_KEY, 'wfx_rotated_key');
    const runs = [await world.addRun(), await world.addRun()];
    world.start();
    await said(runs[0]!.uid, 'KeyRefused');
    const before = world.fake.traffic.requests.length;
    await clock.advance(600_000);
    expect(world.fake.traffic.requests.length).toBe(before);
    expect(world.writes.filter(({ run }) => run === runs[0]!.uid)).toHaveLength(1);
    expect(world.profileCondition('SyncKeyValid')).toMatchObject({
      status: 'False',
      reason: 'KeyNotAccepted',
      message: expect.stringContaining('team-a/worldflux') as string,
    });
    world.setKey('wfx_rotated_key');
    await clock.runUntil(() => runs.every(({ uid }) => reasonOf(uid) === 'Synced'));
    await world.queue.written();
    expect(world.profileCondition('SyncKeyValid')?.status).toBe('True');
  });

  it('says what is wrong with a Secret that cannot be read', async () => {
    const clock = new ManualClock();
    await open({ clock });
    world.secrets.clear();
    const run = await world.addRun();
    world.start();
    await said(run.uid, 'KeyMissing');
    expect(world.conditionOf(run.uid)?.message).toBe('Secret team-a/worldflux: there is no such Secret');
    expect(routes()).toEqual(['openapi']);
    world.setKey(TEST_KEY);
    await clock.runUntil(() => reasonOf(run.uid) === 'Synced');
  });

  it('warns of a key that expires within a week, and of one that has', async () => {
    const clock = new ManualClock();
    await open({ clock });
    const told = (reason: string) => until(reason, () => world.profileCondition('SyncKeyValid')?.reason === reason);
    const day = 24 * 3600_000;
    world.setKey(TEST_KEY, 'team-a', clock.now() + 8 * day);
    const run = await world.addRun();
    world.start();
    await said(run.uid, 'Synced');
    await told('KeysAccepted');
    // Also where no run is sent for days, and nobody starts the operator anew.
    await clock.skip(2 * day);
    await told('KeyExpiring');
    await clock.skip(7 * day);
    await told('KeyExpired');
    world.setKey(TEST_KEY, 'team-a', clock.now() + 90 * day);
    await clock.skip(day);
    await told('KeysAccepted');
    // One that is gone is no alarm before a run needs it.
    world.secrets.clear();
    const before = world.profile.conditions;
    await clock.skip(day);
    await world.queue.written();
    expect(world.profile.conditions).toEqual(before);
  });

  it('remembers a refused key over a restart, until its Secret changes or a person asks', async () => {
    const clock = new ManualClock();
    await open({ clock });
    world.fake.state.rotateKey(TEST_KEY, 'wfx_rotated_key');
    const run = await world.addRun();
    world.start();
    await said(run.uid, 'KeyRefused');
    await until('remembered', async () => (await inStore('sync-refused/')).length === 1);
    const tries = countOf('projects');
    world.kill();
    world.restart();
    const another = await world.addRun();
    await clock.advance(300_000);
    expect([countOf('projects'), countOf('runs')]).toEqual([tries, 0]);
    expect(world.profileCondition('SyncKeyValid')?.reason).toBe('KeyNotAccepted');
    expect(JSON.stringify(await inStore(''))).not.toContain(TEST_KEY);

    // It was refused by mistake, and somebody mended that upstream.
    world.fake.state.rotateKey('wfx_rotated_key', TEST_KEY);
    world.changeRun(run.uid, { request: 'now' });
    await clock.runUntil(() => [run, another].every(({ uid }) => reasonOf(uid) === 'Synced'));
    expect(await inStore('sync-refused/')).toEqual([]);

    world.fake.state.rotateKey(TEST_KEY, 'wfx_third_key');
    const last = await world.addRun();
    await said(last.uid, 'KeyRefused');
    await until('remembered', async () => (await inStore('sync-refused/')).length === 1);
    world.kill();
    world.restart();
    world.setKey('wfx_third_key');
    await clock.runUntil(() => reasonOf(last.uid) === 'Synced');
  });

  it('never leaves a key in a status, a record or a marker', async () => {
    await open();
    world.fake.state.keys.clear();
    const run = await world.addRun({ artifacts: weights });
    world.start();
    await said(run.uid, 'KeyRefused');
    await world.queue.written();
    expect(JSON.stringify([world.writes, world.profile.conditions, world.problems])).not.toContain(TEST_KEY);
  });
});

describe('modes', () => {
  it('sends nothing in mode Disabled, and says so only to who asked', async () => {
    await open({ profile: { mode: 'Disabled' } });
    const [quiet, asking] = [await world.addRun(), await world.addRun({ run: { mode: 'OnCompletion' } })];
    world.start();
    await said(asking.uid, 'SyncDisabled');
    expect(world.conditionOf(quiet.uid)).toBeUndefined();
    expect(routes()).toEqual([]);
  });

  it('waits for a request in mode Manual, and answers each new one', async () => {
    await open({ profile: { mode: 'Manual' } });
    const run = await world.addRun({ artifacts: weights });
    world.start();
    await said(run.uid, 'AwaitingRequest');
    expect(countOf('runs')).toBe(0);
    world.changeRun(run.uid, { request: 'now' });
    await said(run.uid, 'Synced');
    world.changeRun(run.uid, { request: 'once more' });
    await until('answered again', () => world.run(run.uid).status?.request === 'once more');
    expect(countOf('runs')).toBe(2);
    // What is there and unchanged is not sent a second time.
    expect(countOf('upload')).toBe(1);
    expect(world.fake.state.runs.size).toBe(1);
  });

  it('lets a run lower the mode, also while it waits, and takes back what was begun', async () => {
    await open();
    world.fake.faults.add({ on: 'upload', hang: true });
    const run = await world.addRun({ artifacts: weights });
    world.start();
    await until('uploading', () => countOf('upload') === 1);
    world.changeRun(run.uid, { mode: 'Disabled' });
    await until('taken back', () => [...world.fake.state.artifacts.values()].every(({ state }) => state === 'aborted'));
    await until('clean', () => world.queue.cleaningUp === 0);
  });

  it('sends failed runs unless the profile says otherwise', async () => {
    await open({ profile: { unsuccessfulRuns: 'Exclude' } });
    const [failed, good] = [await world.addRun({ run: { succeeded: false } }), await world.addRun()];
    world.start();
    await said(good.uid, 'Synced');
    expect(world.conditionOf(failed.uid)).toBeUndefined();
    world.changeProfile({ sync: { ...world.profile.sync!, unsuccessfulRuns: 'Include' } });
    await said(failed.uid, 'Synced');
  });

  it('keeps the artifacts of a private run, and its log where that would be one', async () => {
    await open();
    const run = await world.addRun({ artifacts: weights, log: 'x'.repeat(300 * 1024), run: { private: true } });
    world.start();
    await said(run.uid, 'Synced');
    expect(world.fake.state.artifacts.size).toBe(0);
    expect(world.conditionOf(run.uid)?.message).toContain('1 kept back because the run is private');
  });

  it('refuses a project that the profile does not allow', async () => {
    await open();
    const run = await world.addRun({ run: { project: 'other' } });
    world.start();
    await said(run.uid, 'ProjectNotAllowed');
    expect(countOf('runs')).toBe(0);
  });

  it('says when the workspace has no such project', async () => {
    await open({ profile: { allowedProjects: ['elsewhere'] } });
    const run = await world.addRun();
    world.start();
    await said(run.uid, 'ProjectNotFound');
    expect(countOf('runs')).toBe(0);
  });
});

describe('artifacts', () => {
  it('asks for another URL when one has expired', async () => {
    await open();
    world.fake.faults.add({
      on: 'upload',
      before: (state) => state.artifacts.forEach((artifact) => (artifact.expiresAt = 0)),
    });
    const run = await world.addRun({ artifacts: weights });
    world.start();
    await said(run.uid, 'Synced');
    expect(countOf('initiate')).toBe(2);
    expect([...world.fake.state.artifacts.values()].map(({ state }) => state)).toEqual(['aborted', 'committed']);
  });

  it('reads back a commit that is said to be there already', async () => {
    await open();
    world.fake.state.rules.commitReplay = 'conflict';
    world.fake.faults.add({ on: 'commit', cut: 'after' });
    const run = await world.addRun({ artifacts: weights });
    world.start();
    await said(run.uid, 'TargetUnavailable');
    world.changeRun(run.uid, { request: 'now' });
    await said(run.uid, 'Synced');
    expect([...world.fake.state.committedCopies().values()]).toEqual([1]);
  });

  it('skips one that the target finds too large, and says so', async () => {
    await open();
    world.fake.faults.add({ on: 'initiate', answer: { status: 413 } });
    const run = await world.addRun({ artifacts: { big: Buffer.from('big'), small: Buffer.from('small') } });
    world.start();
    await said(run.uid, 'ArtifactsSkipped');
    expect(world.run(run.uid).status?.artifacts).toEqual([
      { name: 'big', state: 'Skipped', message: 'larger than the target takes' },
      { name: 'small', state: 'Committed' },
    ]);
  });

  it('sends nothing whose bytes are not those that were recorded', async () => {
    await open();
    const run = await world.addRun({ artifacts: { model: Buffer.from('true bytes') } });
    const keys: string[] = [];
    for await (const { key } of world.store.list(`${run.clientRunId}/`)) if (key.endsWith('/model')) keys.push(key);
    const [key] = keys;
    await world.store.replace(key ?? '', Buffer.from('fake bytes'), 'application/octet-stream');
    world.start();
    await said(run.uid, 'ArtifactsSkipped');
    expect(world.fake.state.committedCopies().size).toBe(0);
    expect([...world.fake.state.artifacts.values()].map(({ state }) => state)).toEqual(['aborted']);
  });

  it('refuses to upload into a private network that the profile does not allow', async () => {
    await open({ network: { allowPlainHTTP: true, allowPrivateEndpoints: true, allowedHosts: ['127.0.0.1'] } });
    world.fake.faults.add({
      on: 'initiate',
      answer: { status: 201, body: { artifact_id: 'a1', upload_url: 'http://169.254.169.254/latest/' } },
    });
    const run = await world.addRun({ artifacts: weights });
    world.start();
    await said(run.uid, 'URLRefused');
    expect(world.conditionOf(run.uid)?.message).not.toContain('latest');
  });

  it('takes back what was begun when the run is deleted in mid-upload', async () => {
    await open();
    world.fake.faults.add({ on: 'upload', hang: true });
    const run = await world.addRun({ artifacts: weights });
    world.start();
    await until('uploading', () => countOf('upload') === 1);
    world.deleteRun(run.uid);
    await until('taken back', () => [...world.fake.state.artifacts.values()].every(({ state }) => state === 'aborted'));
  });

  it('sends no key to a base URL that a profile no longer names', async () => {
    await open();
    const other = await SyncWorld.open();
    try {
      world.fake.faults.add({ on: 'upload', hang: true });
      const run = await world.addRun({ artifacts: weights });
      world.start();
      await until('uploading', () => countOf('upload') === 1);
      const before = world.fake.traffic.requests.length;
      other.fake.state.rotateKey(TEST_KEY, 'wfx_other_key');
      world.setKey('wfx_other_key');
      world.changeProfile({ sync: { ...world.profile.sync!, baseURL: other.fake.url } });
      await said(run.uid, 'Synced');
      expect(other.fake.state.runs.size).toBe(1);
      expect(
        world.fake.traffic.requests.slice(before).filter(({ headers }) => headers.authorization?.includes('other')),
      ).toEqual([]);
    } finally {
      await other.close();
    }
  });
});

describe('many', () => {
  it('does not hold up other runs with one that always breaks the server', async () => {
    await open();
    world.fake.faults.intercept = (on) =>
      on === 'runs' && world.fake.traffic.of('runs').at(-1)?.body?.includes('"poison"') === true
        ? { on, answer: { status: 500 } }
        : undefined;
    const poison = await world.addRun({ manifest: { task: 'poison' } });
    const others = [await world.addRun(), await world.addRun()];
    world.start();
    for (const { uid } of others) await said(uid, 'Synced');
    expect(reasonOf(poison.uid)).toBe('TargetUnavailable');
  });

  it('serves another target while one hangs', async () => {
    await open();
    world.fake.faults.add({ on: 'ledgerRead', hang: true });
    world.setKey(TEST_KEY, 'team-b');
    const slow = await world.addRun();
    world.start();
    await until('hanging', () => countOf('ledgerRead') === 1);
    const quick = await world.addRun({ namespace: 'team-b' });
    await said(quick.uid, 'Synced');
    expect(reasonOf(slow.uid)).toBeUndefined();
  });
});
