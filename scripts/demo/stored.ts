import { createHash } from 'node:crypto';
import type { KubeClient } from '../../src/kube/client.ts';
import { resultsPath } from '../../src/results/api/protocol.ts';
import { RUN_NAMESPACE } from './runs.ts';

/** What is read here comes through the API server, with the rights of whoever runs the demo; `kubectl get --raw` does the same. */
const READ_MS = 60_000;

export const logPath = (run: string): string => resultsPath({ namespace: RUN_NAMESPACE, name: run }, 'log');
export const artifactPath = (run: string, name: string): string =>
  resultsPath({ namespace: RUN_NAMESPACE, name: run }, 'artifacts', { name });

/** The whole answer as text. */
export async function readText(client: KubeClient, path: string): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of await open(client, path)) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

/** How many bytes come, and their SHA-256 as `sha256:<hex>`. */
export async function measure(client: KubeClient, path: string): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of await open(client, path)) {
    hash.update(chunk as Buffer);
    bytes += (chunk as Buffer).length;
  }
  return { bytes, sha256: `sha256:${hash.digest('hex')}` };
}

async function open(client: KubeClient, path: string): Promise<AsyncIterable<unknown>> {
  return (await client.open(path, { signal: AbortSignal.timeout(READ_MS) })).body;
}
