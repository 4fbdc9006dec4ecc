import { createHash } from 'node:crypto';
import type { StoredArtifact } from '../../src/crds/world-run-status.ts';
import type { ResultSink } from '../../src/runtime/contract.ts';

/** A run store that keeps what it was given first, as the real one does. */
export class MemorySink implements ResultSink {
  readonly logs: string[] = [];
  readonly files = new Map<string, Buffer>();

  async log(text: AsyncIterable<Buffer>): Promise<string> {
    this.logs.push(String(await whole(text)));
    return 'attempt/log.txt';
  }

  async artifact(what: {
    name: string;
    path: string;
    contentType: string;
    body: AsyncIterable<Buffer>;
  }): Promise<StoredArtifact> {
    const { name, path, contentType } = what;
    const body = await whole(what.body);
    if (!this.files.has(path)) this.files.set(path, body);
    const kept = this.files.get(path)!;
    const sha256 = createHash('sha256').update(kept).digest('hex');
    return { name, path, contentType, sizeBytes: kept.length, sha256, commit: false, state: 'Stored' };
  }
}

async function whole(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}
