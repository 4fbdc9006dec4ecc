import { setTimeout as sleep } from 'node:timers/promises';
import { USER_CONTAINER } from '../../../src/runtime/local/pod-state.ts';
import { PODS } from '../../../src/kube/resource.ts';
import type { Kit } from '../../e2e/kit.ts';

/** Plays the kubelet where there is no node: the real Job controller sees pods run and end. */
export class PodPlayer {
  readonly #kit: Kit;

  constructor(kit: Kit) {
    this.#kit = kit;
  }

  async start(run: string): Promise<void> {
    const startedAt = now();
    await this.#patch(run, {
      phase: 'Running',
      conditions: [{ type: 'PodScheduled', status: 'True', lastTransitionTime: startedAt }],
      containerStatuses: [container({ running: { startedAt } })],
    });
  }

  async end(run: string, exitCode: number): Promise<void> {
    const at = now();
    const terminated = { exitCode, reason: exitCode === 0 ? 'Completed' : 'Error', startedAt: at, finishedAt: at };
    await this.#patch(run, {
      phase: exitCode === 0 ? 'Succeeded' : 'Failed',
      conditions: [{ type: 'PodScheduled', status: 'True', lastTransitionTime: at }],
      containerStatuses: [container({ terminated })],
    });
  }

  async #patch(run: string, status: object): Promise<void> {
    const { client, namespace } = this.#kit;
    const until = Date.now() + 30_000;
    for (;;) {
      for await (const pod of client.list(PODS, { namespace, labelSelector: `worldflux.ai/run=${run}` })) {
        await client.patch(
          PODS,
          { namespace, name: pod.metadata!.name! },
          { merge: { status } },
          { subresource: 'status' },
        );
        return;
      }
      if (Date.now() > until) throw new Error(`run ${run} has no pod`);
      await sleep(20);
    }
  }
}

const now = (): string => new Date().toISOString().replace(/\.\d+Z/, 'Z');
const container = (state: object): object => ({
  name: USER_CONTAINER,
  image: 'busybox:1',
  imageID: '',
  ready: false,
  restartCount: 0,
  state,
});
