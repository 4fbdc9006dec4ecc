import { afterAll, beforeAll, describe, inject, test } from 'vitest';
import { JOBS } from '../../../src/kube/resource.ts';
import { attachCluster } from '../../cluster/index.ts';
import { condition, Kit } from '../../e2e/kit.ts';
import { freePort, startOperator, type OperatorProcess } from '../../e2e/operator-process.ts';
import { temporaryFolder } from '../../temporary-folder.ts';
import { installCrds } from '../install-crds.ts';
import { PodPlayer } from './pod-player.ts';

/** What people do to profiles and runs while runs are at work: the real operator on a real API server. */

const dir = await temporaryFolder('changes');
let limited: Kit;
const NAMESPACE = 'worldflux-changes';
let kit: Kit;
let pods: PodPlayer;
let operator: OperatorProcess;

beforeAll(async () => {
  const cluster = await attachCluster(inject('cluster'));
  if (cluster === undefined) throw new Error('the layer has no cluster');
  await installCrds(cluster);
  kit = await Kit.open(cluster, 'changes');
  await kit.ensureNamespace(NAMESPACE);
  operator = await startOperator({ cluster, dir, gatewayPort: await freePort(), namespace: NAMESPACE });
  pods = new PodPlayer(kit);
  limited = await Kit.open(cluster, 'changes-limited');
});
afterAll(async () => {
  await operator?.stop();
  await kit.cluster.kubectl(['delete', 'runtimeprofiles', '-l', 'test=changes', '--wait=false']);
  await kit.cluster.kubectl(['delete', 'namespace', NAMESPACE, '--wait=false']);
  await limited.close();
  await kit.close();
});

const applyProfile = (name: string, image: string) =>
  kit.apply({
    ...kit.profile(name, { image, collect: 'Disabled' }),
    metadata: { name, labels: { test: 'changes' } },
  });
const deleteProfile = (name: string) => kit.cluster.kubectl(['delete', 'runtimeprofile', name]);
const running = (name: string) => kit.until(name, (run) => condition(run, 'Ready')?.reason === 'Running');

/** Images of the user's container in the Jobs of a run, by attempt. */
async function imagesOf(uid: string): Promise<string[]> {
  const found: [number, string][] = [];
  for await (const { metadata, spec } of kit.client.list(JOBS, {
    namespace: kit.namespace,
    labelSelector: `worldflux.ai/run-uid=${uid}`,
  }))
    found.push([Number(metadata?.labels?.['worldflux.ai/attempt']), spec!.template.spec!.containers[0]!.image!]);
  return found.toSorted(([a], [b]) => a - b).map(([, image]) => image);
}

describe.concurrent('while runs are at work', () => {
  test('a profile is changed and deleted between the attempts of a run, which stays as it began', async ({
    expect,
  }) => {
    await applyProfile('changes-pinned', 'first:1');
    const retry = { maxAttempts: 2, onReasons: ['NonZeroExit'] };
    await kit.apply(kit.shell('pinned', 'changes-pinned', 'true', { retry }));
    await pods.start('pinned');
    const { metadata, status } = await running('pinned');
    await applyProfile('changes-pinned', 'second:1');
    await pods.end('pinned', 3);
    await kit.until('pinned', (run) => condition(run, 'Ready')?.reason === 'WaitingForRetry');
    await deleteProfile('changes-pinned');
    await pods.end('pinned', 0, 'worldflux.ai/attempt=2');
    const done = await kit.finished('pinned');
    expect(done.status).toMatchObject({ phase: 'Succeeded', attemptCount: 2, profile: status!.profile });
    expect(await imagesOf(metadata!.uid!)).toEqual(['first:1', 'first:1']);
  });

  test('a profile is deleted and made again under its name: what runs keeps the old one, what waits takes the new one', async ({
    expect,
  }) => {
    await applyProfile('changes-again', 'old:1');
    await kit.apply(kit.shell('runs', 'changes-again', 'true'));
    await kit.apply(kit.shell('waits', 'changes-again', 'true', { suspend: true }));
    await pods.start('runs');
    const before = await running('runs');
    await deleteProfile('changes-again');
    await kit.patch('waits', { suspend: false });
    await kit.until('waits', (run) => condition(run, 'Ready')?.reason === 'ProfileNotFound');
    await applyProfile('changes-again', 'new:1');
    await pods.end('waits', 0);
    await pods.end('runs', 0);
    const [ran, waited] = [await kit.finished('runs'), await kit.finished('waits')];
    expect(ran.status).toMatchObject({ phase: 'Succeeded', profile: before.status!.profile });
    expect(await imagesOf(ran.metadata!.uid!)).toEqual(['old:1']);
    expect(waited.status!.phase).toBe('Succeeded');
    expect(waited.status!.profile!.digest).not.toBe(ran.status!.profile!.digest);
    expect(await imagesOf(waited.metadata!.uid!)).toEqual(['new:1']);
  });

  test('a run is deleted and applied again without a runKey: another run, with a Job of its own', async ({
    expect,
  }) => {
    await applyProfile('changes-rerun', 'busybox:1');
    const object = kit.shell('rerun', 'changes-rerun', 'true');
    await kit.apply(object);
    await pods.start('rerun');
    const first = await running('rerun');
    await kit.cluster.kubectl(['-n', kit.namespace, 'delete', 'worldrun', 'rerun']);
    await kit.apply(object);
    const { metadata } = await kit.get('rerun');
    expect(metadata!.uid).not.toBe(first.metadata!.uid);
    await pods.end('rerun', 0, `worldflux.ai/run-uid=${metadata!.uid}`);
    const second = await kit.finished('rerun');
    expect(second.status).toMatchObject({ phase: 'Succeeded', attemptCount: 1 });
    expect(second.status!.clientRunId).not.toBe(first.status!.clientRunId);
    // The garbage collector learns of a new kind within half a minute.
    const old = ['job', '-l', `worldflux.ai/run-uid=${first.metadata!.uid}`];
    await kit.cluster.kubectl(['-n', kit.namespace, 'wait', '--for=delete', ...old, '--timeout=90s'], {
      timeoutMs: 100_000,
    });
    expect(await imagesOf(metadata!.uid!)).toEqual(['busybox:1']);
  });

  test('a quota keeps the pods away: the run says so in the quota’s words, and goes on when there is room', async ({
    expect,
  }) => {
    await applyProfile('changes-quota', 'busybox:1');
    const quota = {
      apiVersion: 'v1',
      kind: 'ResourceQuota',
      metadata: { name: 'none' },
      spec: { hard: { pods: '0' } },
    };
    await limited.apply(quota);
    const observed = '--for=jsonpath={.status.hard.pods}=0';
    await limited.cluster.kubectl(['-n', limited.namespace, 'wait', 'resourcequota/none', observed, '--timeout=30s']);
    await limited.apply(limited.shell('crowded', 'changes-quota', 'true'));
    const waiting = await limited.until('crowded', (run) => condition(run, 'Ready')?.reason === 'JobRefused');
    expect(condition(waiting, 'Ready')?.message).toContain('exceeded quota: none');
    expect(condition(waiting, 'Ready')?.message).not.toMatch(/^(POST|GET) /);
    await limited.cluster.kubectl(['-n', limited.namespace, 'delete', 'resourcequota', 'none']);
    await new PodPlayer(limited).end('crowded', 0);
    expect((await limited.finished('crowded')).status!.phase).toBe('Succeeded');
  });

  test('a policy of the cluster refuses the Job: the run says so in the policy’s words', async ({
    expect,
    onTestFinished,
  }) => {
    await applyProfile('changes-policy', 'busybox:1');
    const name = 'changes-no-jobs';
    const matches = {
      resourceRules: [{ apiGroups: ['batch'], apiVersions: ['v1'], operations: ['CREATE'], resources: ['jobs'] }],
    };
    const policies = { apiVersion: 'admissionregistration.k8s.io/v1', metadata: { name, labels: { test: 'changes' } } };
    await limited.apply(
      {
        ...policies,
        kind: 'ValidatingAdmissionPolicy',
        spec: {
          matchConstraints: matches,
          validations: [
            { expression: "!object.metadata.name.startsWith('unwanted')", message: 'no unwanted Jobs here' },
          ],
        },
      },
      {
        ...policies,
        kind: 'ValidatingAdmissionPolicyBinding',
        spec: { policyName: name, validationActions: ['Deny'] },
      },
    );
    onTestFinished(async () => {
      await limited.cluster.kubectl(['delete', 'validatingadmissionpolicybinding,validatingadmissionpolicy', name]);
    });
    // A policy takes a moment to be everywhere.
    const probe = (word: string) => ({
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name: `unwanted-${word}` },
      spec: { suspend: true, template: { spec: { restartPolicy: 'Never', containers: [{ name: 'x', image: 'x' }] } } },
    });
    await expect
      .poll(() => limited.refusal(probe(crypto.randomUUID())).catch(() => ''), { timeout: 30_000 })
      .toContain('no unwanted Jobs');
    await limited.apply(limited.shell('unwanted', 'changes-policy', 'true'));
    const waiting = await limited.until('unwanted', (run) => condition(run, 'Ready')?.reason === 'JobRefused');
    expect(condition(waiting, 'Ready')?.message).toMatch(
      /^Job\.batch .*no unwanted Jobs here|^jobs\.batch .*no unwanted Jobs here/,
    );
  });

  test('a webhook that does not answer keeps a Job back, and the run says so', async ({ expect, onTestFinished }) => {
    const name = 'changes-webhook';
    await applyProfile(name, 'first:1');
    await kit.apply({
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingWebhookConfiguration',
      metadata: { name },
      webhooks: [
        {
          name: 'away.example.com',
          clientConfig: { url: 'https://127.0.0.1:1/' },
          admissionReviewVersions: ['v1'],
          sideEffects: 'None',
          failurePolicy: 'Fail',
          rules: [{ apiGroups: ['batch'], apiVersions: ['v1'], operations: ['CREATE'], resources: ['jobs'] }],
          objectSelector: { matchLabels: { 'worldflux.ai/run': 'barred' } },
        },
      ],
    });
    onTestFinished(async () => {
      await kit.cluster.kubectl(['delete', 'validatingwebhookconfiguration', name]);
    });
    // A webhook takes a moment to be everywhere.
    const probe = {
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { generateName: 'probe-', labels: { 'worldflux.ai/run': 'barred' } },
      spec: { suspend: true, template: { spec: { restartPolicy: 'Never', containers: [{ name: 'x', image: 'x' }] } } },
    };
    await expect
      .poll(() => kit.refusal(probe).catch(() => ''), { timeout: 30_000 })
      .toContain('failed calling webhook');
    await kit.apply(kit.shell('barred', name, 'true'));
    const waiting = await kit.until('barred', (run) => condition(run, 'Ready')?.reason === 'JobRefused');
    expect(condition(waiting, 'Ready')?.message).toMatch(/^Internal error .*away\.example\.com/);
  });
});
