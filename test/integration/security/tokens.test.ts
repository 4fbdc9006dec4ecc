import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { PODS, SERVICE_ACCOUNTS } from '../../../src/kube/resource.ts';
import type { CollectTask } from '../../../src/results/contract.ts';
import { resultsAudience } from '../../../src/results/gateway/auth.ts';
import { ApiTokenReviewer } from '../../../src/results/gateway/token-review.ts';
import { useCluster } from '../kube/setup.ts';
import { Operator } from '../results/harness.ts';
import { fileStore } from '../results/stores.ts';

/** The gateway, asked with tokens of a real API server that says whether they are good. */

const { client, namespace } = useCluster();
let operator: Operator;
let stop: () => Promise<void>;

beforeAll(async () => {
  const under = await fileStore();
  operator = await Operator.start(under.store, undefined, new ApiTokenReviewer(client));
  stop = async () => {
    await operator.goDown();
    await under.stop();
  };
  await client.create(SERVICE_ACCOUNTS, { metadata: { name: 'runner', namespace } });
});
afterAll(() => stop());

interface Bound {
  name: string;
  uid: string;
}

/** A pod that no node ever takes: its tokens are as real as any. */
async function makePod(): Promise<Bound> {
  const name = `pod-${randomUUID().slice(0, 8)}`;
  const { metadata } = await client.create(PODS, {
    metadata: { name, namespace },
    spec: { serviceAccountName: 'runner', containers: [{ name: 'c', image: 'none' }] },
  });
  return { name, uid: metadata!.uid! };
}

/** As the kubelet gets it for a projected volume, or anybody who may create `serviceaccounts/token`. */
async function mint(audience: string | undefined, pod?: Bound): Promise<string> {
  const { status } = await client.createSubresource<{ status: { token: string } }>(
    SERVICE_ACCOUNTS,
    { namespace, name: 'runner' },
    'token',
    {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: {
        expirationSeconds: 3600,
        ...(audience !== undefined && { audiences: [audience] }),
        ...(pod !== undefined && { boundObjectRef: { kind: 'Pod', apiVersion: 'v1', ...pod } }),
      },
    },
  );
  return status.token;
}

const audienceOf = (task: CollectTask): string => resultsAudience('test', task.clientRunId);
const runOf = (pod: Bound): CollectTask =>
  operator.run({ namespace, rankOf: (uid) => (uid === pod.uid ? 0 : undefined) });
const ask = (task: CollectTask, token: string): Promise<{ status: number; code?: string }> =>
  operator.request(`/v1/runs/${task.clientRunId}/attempts/${task.attempt}/progress`, { token, body: { percent: 1 } });

describe('who is heard', () => {
  it('the pod of the run, by its own token', async () => {
    const pod = await makePod();
    const task = runOf(pod);
    expect(await ask(task, await mint(audienceOf(task), pod))).toMatchObject({ status: 200 });
  });

  it('nobody by a token for another run, for the API server, or for no pod', async () => {
    const [pod, other] = [await makePod(), await makePod()];
    const [task, another] = [runOf(pod), runOf(other)];
    for (const token of [
      await mint(audienceOf(another), pod),
      await mint(undefined, pod),
      await mint(audienceOf(task)),
    ])
      expect(await ask(task, token)).toMatchObject({ status: 401, code: 'unauthorized' });
  });

  it('no other pod of the namespace, even with a token that was minted for this run', async () => {
    const pod = await makePod();
    const task = runOf(pod);
    expect(await ask(task, await mint(audienceOf(task), await makePod()))).toMatchObject({
      status: 403,
      code: 'unknownPod',
    });
  });

  it('nobody by a token in which another pod was written', async () => {
    const [pod, mine] = [await makePod(), await makePod()];
    const task = runOf(pod);
    const [head, payload, signature] = (await mint(audienceOf(task), mine)).split('.') as [string, string, string];
    const claims = Buffer.from(payload, 'base64url')
      .toString()
      .replaceAll(mine.uid, pod.uid)
      .replaceAll(mine.name, pod.name);
    const forged = `${head}.${Buffer.from(claims).toString('base64url')}.${signature}`;
    const unsigned = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from(claims).toString('base64url')}.`;
    for (const token of [forged, unsigned]) expect((await ask(task, token)).status).toBe(401);
  });

  it('no token of a pod that was deleted by force, a minute later at the latest', async () => {
    const pod = await makePod();
    const task = runOf(pod);
    const token = await mint(audienceOf(task), pod);
    expect(await ask(task, token)).toMatchObject({ status: 200 });
    await client.delete(PODS, { namespace, name: pod.name }, { gracePeriodSeconds: 0 });
    // The API server remembers for some seconds that a token was good, the gateway for a minute.
    const reviewer = new ApiTokenReviewer(client);
    await expect
      .poll(() => reviewer.review(token, audienceOf(task)), { timeout: 30_000 })
      .toMatchObject({ ok: false, refusal: 'Invalid' });
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 61_000 });
    try {
      expect(await ask(task, token)).toMatchObject({ status: 401 });
    } finally {
      vi.useRealTimers();
    }
  });

  it('no pod of the same name that came after it', async () => {
    const pod = await makePod();
    const task = runOf(pod);
    const token = await mint(audienceOf(task), pod);
    await client.delete(PODS, { namespace, name: pod.name }, { gracePeriodSeconds: 0 });
    await client.create(PODS, {
      metadata: { name: pod.name, namespace },
      spec: { serviceAccountName: 'runner', containers: [{ name: 'c', image: 'none' }] },
    });
    expect(await ask(task, token)).toMatchObject({ status: 401 });
  });
});
