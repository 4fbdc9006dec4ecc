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

  /** `which`: labels, where the run has had other pods. */
  async start(run: string, which = ''): Promise<void> {
    const startedAt = now();
    await this.#patch(run, which, {
      phase: 'Running',
      conditions: [{ type: 'PodScheduled', status: 'True', lastTransitionTime: startedAt }],
      containerStatuses: [container({ running: { startedAt } })],
    });
  }

  async end(run: string, exitCode: number, which = ''): Promise<void> {
    const at = now();
    const terminated = { exitCode, reason: exitCode === 0 ? 'Completed' : 'Error', startedAt: at, finishedAt: at };
    await this.#patch(run, which, {
      phase: exitCode === 0 ? 'Succeeded' : 'Failed',
      conditions: [{ type: 'PodScheduled', status: 'True', lastTransitionTime: at }],
      containerStatuses: [container({ terminated })],
    });
  }

  async #patch(run: string, which: string, status: object): Promise<void> {
    const { client, namespace } = this.#kit;
    const until = Date.now() + 30_000;
    for (;;) {
      const labelSelector = [`worldflux.ai/run=${run}`, which].filter((label) => label !== '').join(',');
      for await (const pod of client.list(PODS, { namespace, labelSelector })) {
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
