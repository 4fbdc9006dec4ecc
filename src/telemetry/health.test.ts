import { Registry } from 'prom-client';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { Condition } from '../crds/common.ts';
import { HealthServer } from './health.ts';
import type { OperatorFacts, ProfileFacts } from './readiness.ts';
import { StoreProbe } from './store-probe.ts';

const condition = (type: string, status: 'True' | 'False', reason = 'DoctorPassed'): Condition => ({
  type,
  status,
  reason,
  message: 'Secret worldflux-system/replicate has no key token',
  lastTransitionTime: '2026-11-20T10:15:00Z',
});
const well = [condition('Configured', 'True'), condition('Healthy', 'True')];
const profile = (name: string, conditions: Condition[], doctor: ProfileFacts['doctor'] = []): ProfileFacts => ({
  name,
  runtime: 'replicate',
  conditions,
  doctor,
});

const READY: OperatorFacts = { stopping: false, cachesComplete: true, storeReachable: true };

async function setUp({
  operator = READY,
  profiles = [] as ProfileFacts[],
  leads = false,
}: { operator?: OperatorFacts; profiles?: ProfileFacts[]; leads?: boolean } = {}) {
  const server = new HealthServer({
    port: 0,
    registry: new Registry(),
    operator: () => operator,
    leads: () => leads,
    profiles: () => profiles,
    profile: (name) => profiles.find((p) => p.name === name),
  });
  const port = await server.listen();
  onTestFinished(() => server.close());
  return async (path: string, init: RequestInit = {}) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, init);
    const text = await response.text();
    const isJson = response.headers.get('content-type') === 'application/json';
    const body = (isJson ? JSON.parse(text) : { text }) as Record<string, never>;
    return { status: response.status, body, id: response.headers.get('x-request-id') };
  };
}

describe('the operator itself', () => {
  test.each<[string, Partial<OperatorFacts>, number, string]>([
    ['everything is there', {}, 200, 'ready'],
    ['caches are filling', { cachesComplete: false }, 503, 'starting'],
    ['the store was not asked yet', { storeReachable: undefined }, 503, 'starting'],
    ['the store does not answer', { storeReachable: false }, 503, 'store_unreachable'],
    ['it is stopping', { stopping: true }, 503, 'stopping'],
  ])('%s', async (_, facts, status, word) => {
    const get = await setUp({ operator: { ...READY, ...facts } });
    expect(await get('/readyz')).toMatchObject({
      status,
      body: { status: word, traffic: status === 200 ? 'accept' : 'drain', checks: { framework_alive: true } },
    });
    // Nothing of this is a reason to kill the process.
    expect(await get('/healthz')).toMatchObject({ status: 200, body: { status: 'live' } });
  });

  test('a standby is as ready as a leader; only /leaderz tells them apart', async () => {
    for (const leads of [true, false]) {
      const get = await setUp({ leads });
      expect((await get('/readyz')).status).toBe(200);
      expect(await get('/leaderz')).toMatchObject({ status: 200, body: { status: leads ? 'leading' : 'standby' } });
    }
  });

  test('a profile that is not well does not take the operator out of service', async () => {
    const bad = profile(
      'video',
      [condition('Configured', 'False')],
      [{ check: 'credentials', level: 'error', message: 'Secret worldflux-system/replicate has no key token' }],
    );
    const get = await setUp({ profiles: [bad, profile('cpu', well)] });
    const { status, body } = await get('/readyz');
    expect(status).toBe(200);
    expect(body['doctor']).toEqual({
      provider_count: 2,
      registered_provider_count: 1,
      healthy_provider_count: 1,
      issue_count: 1,
      issues: ['video: credentials'],
    });
  });
});

describe('a profile', () => {
  test.each<[string, Condition[], number, object]>([
    ['ready', well, 200, { status: 'ready', traffic: 'accept' }],
    [
      'without its Secret',
      [condition('Configured', 'False', 'CredentialsMissing'), condition('Healthy', 'False')],
      503,
      { status: 'provider_unconfigured', traffic: 'drain' },
    ],
    ['that nothing has looked at yet', [], 503, { status: 'provider_unconfigured', traffic: 'drain' }],
    [
      'whose vendor does not answer',
      [condition('Configured', 'True'), condition('Healthy', 'False', 'DoctorFailed')],
      503,
      { status: 'provider_unhealthy', traffic: 'drain' },
    ],
    [
      'whose calls fail often of late',
      [...well, condition('Degraded', 'True', 'CallsFail')],
      503,
      { status: 'provider_unhealthy', traffic: 'drain' },
    ],
  ])('%s', async (_, conditions, status, body) => {
    const get = await setUp({ profiles: [profile('video', conditions)] });
    const answers = await Promise.all([get('/readyz?profile=video'), get('/readyz/video')]);
    for (const answer of answers) expect(answer).toMatchObject({ status, body });
    // Who asks here is not known: messages of conditions stay with those who may read the profile.
    expect(JSON.stringify(answers)).not.toContain('Secret');
  });

  test('has the JSON of WorldForge’s service host', async () => {
    const get = await setUp({ profiles: [profile('video', [...well, condition('Degraded', 'True', 'CallsFail')])] });
    expect((await get('/readyz/video', { headers: { 'x-request-id': 'req-7' } })).body).toEqual({
      request_id: 'req-7',
      status: 'provider_unhealthy',
      checks: {
        framework_alive: true,
        provider: 'replicate',
        provider_configured: true,
        provider_healthy: false,
        provider_health: { name: 'video', healthy: false, latency_ms: null, details: 'Degraded: CallsFail' },
      },
      traffic: 'drain',
      doctor: {
        provider_count: 1,
        registered_provider_count: 1,
        healthy_provider_count: 0,
        issue_count: 1,
        issues: ['video: degraded'],
      },
    });
  });

  test('that does not exist is a provider that nobody registered', async () => {
    const get = await setUp();
    expect(await get('/readyz/none')).toMatchObject({ status: 503, body: { status: 'provider_unconfigured' } });
  });

  test('drains while the operator does', async () => {
    const get = await setUp({ operator: { ...READY, stopping: true }, profiles: [profile('video', well)] });
    expect(await get('/readyz/video')).toMatchObject({ status: 503, body: { checks: { framework_alive: false } } });
  });
});

describe('a request', () => {
  test('keeps its own id, and is given one where it has none or an odd one', async () => {
    const get = await setUp();
    expect((await get('/healthz', { headers: { 'x-request-id': 'a.b-c:1' } })).id).toBe('a.b-c:1');
    for (const headers of [{}, { 'x-request-id': '<script>' }, { 'x-request-id': 'x'.repeat(129) }]) {
      const { id, body } = await get('/readyz', { headers });
      expect(id).toMatch(/^[0-9a-f]{32}$/);
      expect(body['request_id']).toBe(id);
    }
  });

  test.each(['/', '/nothing', '/healthz/x', '/readyz/a/b', '/metrics/x'])(
    'for %s is told what there is',
    async (path) => {
      const get = await setUp();
      expect(await get(path)).toMatchObject({
        status: 404,
        body: { error: { type: 'validation_error', status: 404 } },
      });
    },
  );

  test('that would change something is refused', async () => {
    const get = await setUp();
    expect((await get('/readyz', { method: 'POST' })).status).toBe(405);
  });
});

test('the store is unreachable after two looks in a row, and reachable again after one', async () => {
  let works = true;
  let looks = 0;
  const probe = new StoreProbe(
    () => {
      looks += 1;
      return works ? Promise.resolve() : Promise.reject(new Error('away'));
    },
    { periodMs: 5, soonMs: 5 },
  );
  onTestFinished(() => probe.stop());
  expect(probe.reachable).toBeUndefined();
  probe.start();
  await vi.waitFor(() => expect(probe.reachable).toBe(true));
  works = false;
  const seen = looks;
  await vi.waitFor(() => expect(probe.reachable).toBe(false));
  expect(looks - seen).toBeGreaterThanOrEqual(2);
  works = true;
  await vi.waitFor(() => expect(probe.reachable).toBe(true));
});
