import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SyncWorld, until, type Life } from './sync/world.ts';

/**
 * The operator dies at every point of a sync: before and after every request, every write to the run store and every
 * write to the API server. A new one, with nothing in memory, must bring the same run there once.
 */

/** One thing that crosses the operator's border, and on which side of it death comes. */
interface Point {
  what: string;
  when: 'before' | 'after';
  /** The how-manieth step of that life. */
  index: number;
}

async function aWorld(): Promise<{ world: SyncWorld; uid: string }> {
  const world = await SyncWorld.open();
  const { uid } = await world.addRun({
    artifacts: { checkpoint: Buffer.from('weights'), metrics: Buffer.from('{}') },
    log: 'step 1\n',
  });
  return { world, uid };
}

/** Watches a life, and ends it at a step. Requests count where they arrive. */
function dieAt(world: SyncWorld, life: Life, point: number | undefined, seen: Point[]): void {
  const step = (what: string, when: 'before' | 'after'): boolean => {
    if (life.dead) return false;
    seen.push({ what, when, index: seen.length });
    if (seen.length - 1 !== point) return false;
    life.dead = true;
    return true;
  };
  life.onStep = (what, when) => void step(what, when);
  world.fake.faults.intercept = (on) => {
    if (life.dead) return { cut: 'before' };
    if (step(`request ${on}`, 'before')) return { cut: 'before' };
    return step(`request ${on}`, 'after') ? { cut: 'after' } : undefined;
  };
}

function expectOnce(world: SyncWorld, uid: string, where: string): void {
  const { state, traffic } = world.fake;
  const manifests = new Set(traffic.of('runs').map(({ body }) => body?.toString()));
  expect({
    where,
    runs: state.runs.size,
    bodies: manifests.size,
    copies: [...state.committedCopies().values()],
    heads: [...state.ledgers.values()].map((heads) => heads.length),
    violations: traffic.violations,
    status: world.run(uid).status?.artifacts?.map(({ state: s }) => s),
  }).toEqual({
    where,
    runs: 1,
    bodies: 1,
    copies: [1, 1],
    heads: [1],
    violations: [],
    status: ['Committed', 'Committed'],
  });
}

/** Every step of a sync that nothing disturbs. */
async function allPoints(): Promise<Point[]> {
  const { world, uid } = await aWorld();
  const seen: Point[] = [];
  dieAt(world, world.life, undefined, seen);
  world.start();
  await until('synced', () => world.conditionOf(uid)?.status === 'True');
  await world.close();
  return seen;
}

const points = await allPoints();

/**
 * Dies with an upload that was begun under a name that it never read, or never wrote down: nobody can take that one back,
 * and it never becomes a copy.
 */
function isUnnamed(index: number): boolean {
  return [points[index], points[index - 1]].some(
    (point) => point?.what === 'request initiate' && point.when === 'after',
  );
}

describe('an operator that is killed', () => {
  it('is killed at every request that a sync makes, and more', () => {
    const requests = points.filter(({ what }) => what.startsWith('request'));
    expect(new Set(requests.map(({ what }) => what.split(' ')[1]))).toEqual(
      new Set(['openapi', 'health', 'projects', 'ledgerRead', 'runs', 'initiate', 'upload', 'commit', 'ledgerWrite']),
    );
    expect(points.length).toBeGreaterThan(60);
    console.log(`crash points: ${points.length}, of which ${requests.length} around requests`);
  });

  it.each(points)('$when $what (step $index): one run and one copy of each artifact', async ({ what, when, index }) => {
    const { world, uid } = await aWorld();
    dieAt(world, world.life, index, []);
    world.start();
    await until(`killed ${when} ${what}`, () => world.life.dead);
    world.restart();
    dieAt(world, world.life, undefined, []);
    await until('synced', () => world.conditionOf(uid)?.status === 'True');
    expectOnce(world, uid, `${when} ${what}`);
    const left = [...world.fake.state.artifacts.values()].filter(({ state }) => state === 'initiated').length;
    expect(left).toBe(isUnnamed(index) ? 1 : 0);
    await world.close();
  });

  it.each(points)(
    '$when $what (step $index), and its run is deleted before it comes back: nothing stays begun',
    async ({ what, when, index }) => {
      const { world, uid } = await aWorld();
      const run = world.run(uid);
      dieAt(world, world.life, index, []);
      world.start();
      await until(`killed ${when} ${what}`, () => world.life.dead);
      world.runs.delete(uid);
      world.restart();
      dieAt(world, world.life, undefined, []);
      // The marker is the last thing to go.
      await until('clean', async () => (await world.store.get(`sync-open/${run.clientRunId}/open.json`)) === undefined);
      const left = [...world.fake.state.artifacts.values()].filter(({ state }) => state === 'initiated').length;
      expect(left).toBe(isUnnamed(index) ? 1 : 0);
      await world.close();
    },
  );

  it('many times over still ends with one of each', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(points.length - 1), { minLength: 2, maxLength: 6 }), async (deaths) => {
        const { world, uid } = await aWorld();
        for (const [life, at] of deaths.entries()) {
          dieAt(world, world.life, at, []);
          if (life === 0) world.start();
          await until('killed or synced', () => world.life.dead || world.conditionOf(uid)?.status === 'True');
          if (!world.life.dead) break;
          world.restart();
        }
        dieAt(world, world.life, undefined, []);
        await until('synced', () => world.conditionOf(uid)?.status === 'True');
        expectOnce(world, uid, JSON.stringify(deaths));
        await world.close();
      }),
      { numRuns: 25 },
    );
  }, 120_000);
});
