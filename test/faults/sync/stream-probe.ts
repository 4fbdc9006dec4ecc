import { GuardedHttp } from '../../../src/net/http.ts';
import { sendArtifact } from '../../../src/controller/sync/artifacts.ts';
import { openArtifact } from '../../../src/controller/sync/prepare.ts';
import type { SyncArtifact } from '../../../src/controller/sync/record.ts';
import type { RunStore } from '../../../src/results/contract.ts';
import { Upstream } from '../../../src/upstream/client.ts';
import { PINNED } from '../../../src/upstream/contract.ts';

/**
 * A process of its own that takes one stored artifact upstream, and prints how long it took and the most memory that it
 * ever held, as the kernel counted it. Its argument is a {@link StreamTask} as JSON.
 */
export interface StreamTask {
  baseURL: string;
  key: string;
  project: string;
  cloudRunId: string;
  store: { folder: string } | { endpoint: string; bucket: string };
  installationId: string;
  attempt: { clientRunId: string; runUid: string; attempt: number };
  artifact: SyncArtifact;
}

export interface StreamFigures {
  state: string;
  seconds: number;
  maxRssMiB: number;
  /** Held before the first byte: the code, most of it. */
  loadedRssMiB: number;
}

/** As the operator does: the S3 client is loaded only where it is used. */
async function openStore({ store, installationId }: StreamTask): Promise<RunStore> {
  if ('folder' in store) {
    const { FileStore } = await import('../../../src/results/store/files.ts');
    return FileStore.open({ ...store, installationId });
  }
  const { S3Store } = await import('../../../src/results/store/s3.ts');
  return new S3Store({ ...store, installationId, region: 'us-east-1', forcePathStyle: true });
}

const task = JSON.parse(process.argv[2] ?? '') as StreamTask;
const http = new GuardedHttp({ allowPlainHTTP: true, allowPrivateEndpoints: true });
const store = await openStore(task);
const { artifact, attempt } = task;
const loadedRssMiB = process.memoryUsage.rss() / 2 ** 20;
const started = performance.now();
await sendArtifact(
  {
    upstream: new Upstream(http, task, PINNED, { emit() {} }),
    clientRunId: attempt.clientRunId,
    cloudRunId: task.cloudRunId,
    project: { name: task.project, id: undefined },
    open: (what, signal) => openArtifact(store, attempt, what, signal),
    before: () => Promise.resolve(),
    uploaded: () => undefined,
    signal: new AbortController().signal,
  },
  artifact,
);
const figures: StreamFigures = {
  state: artifact.state,
  seconds: (performance.now() - started) / 1000,
  maxRssMiB: process.resourceUsage().maxRSS / 1024,
  loadedRssMiB,
};
console.log(JSON.stringify(figures));
await http.close();
