import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject } from 'vitest';
import { attachCluster, type Cluster } from '../cluster/index.ts';
import { OPERATOR_IMAGE, operatorImage } from '../cluster/operator-image.ts';
import { busyboxImage } from '../cluster/small-images.ts';
import { installCrds } from '../integration/install-crds.ts';
import { Kit, SHELL_PROFILE } from './kit.ts';
import { freePort, startOperator, type OperatorProcess, type OperatorProcessOptions } from './operator-process.ts';
import { askedBy, auditSize, operatorKubeconfig, SYSTEM, userOf } from './rights.ts';

/** One test file's world: a namespace, a profile with a shell, and an operator with the chart's rights that can be killed. */
export interface Fixture {
  kit: Kit;
  operator: OperatorProcess;
  /** Name of a profile with a shell and no overrides. */
  profile: string;
  /** Settings of the operator, to start another one. */
  settings: OperatorProcessOptions;
  /** Ends the operator without farewell and starts the next one on the same store. */
  restart(): Promise<void>;
}

/** What an operator complained about is the first thing to look at when a test of its file failed. */
export function tellComplaints(name: string, log: string): void {
  const complaints = log.split('\n').filter((line) => /"level":[456]0/.test(line));
  if (complaints.length > 0)
    console.log(
      `${name}: ${complaints.length} complaints of the operator, the last ones:\n${complaints.slice(-10).join('\n')}`,
    );
}

/** A right that the chart does not give may be missed by no test: the operator tries again, or goes on without. */
export async function nothingWasRefused(cluster: Cluster | undefined, from: number): Promise<void> {
  if (cluster?.auditLog === undefined) return;
  const { refused } = await askedBy(cluster, (user) => user === userOf(SYSTEM), from);
  expect(refused, 'what the chart’s roles did not let the operator do').toEqual([]);
}

/** Registers set-up and clean-up of the calling file; the answer is filled in before its first test. */
export function fixture(name: string, args: readonly string[] = []): Fixture {
  const world = {} as Fixture;
  let dir = '';
  let auditFrom = 0;
  beforeAll(async () => {
    const cluster = await attachCluster(inject('cluster'));
    if (cluster === undefined) throw new Error('the layer has no cluster');
    await cluster.loadImage(await busyboxImage());
    await cluster.loadImage(await operatorImage());
    await installCrds(cluster);
    dir = await mkdtemp(join(tmpdir(), `worldflux-e2e-${name}-`));
    // A cluster that is used again may still be taking the namespace of the last time away.
    const kit = await Kit.open(cluster, `${name}-${Date.now().toString(36)}`);
    await kit.ensureNamespace(SYSTEM);
    auditFrom = await auditSize(cluster);
    world.kit = kit;
    world.profile = `${name}-shell`;
    world.settings = {
      cluster,
      dir,
      gatewayPort: await freePort(),
      namespace: SYSTEM,
      kubeconfig: await operatorKubeconfig(cluster),
      image: OPERATOR_IMAGE,
      args,
    };
    world.operator = await startOperator(world.settings);
    world.restart = async () => {
      await world.operator.kill();
      world.operator = await startOperator(world.settings);
    };
    await kit.apply(kit.profile(world.profile, SHELL_PROFILE));
  }, 600_000);
  afterAll(async () => {
    await world.operator?.stop();
    tellComplaints(name, world.operator?.log() ?? '');
    await world.kit?.cluster.kubectl(['delete', 'runtimeprofiles', '--all', '--wait=false']);
    await world.kit?.close();
    await nothingWasRefused(world.kit?.cluster, auditFrom);
    if (dir !== '') await rm(dir, { recursive: true, force: true });
  });
  return world;
}
