import { createHash } from 'node:crypto';
import type { StoredArtifact } from '../crds/world-run-status.ts';
import { Redactor } from '../telemetry/redaction.ts';
import { secretsInUse } from '../telemetry/secrets-in-use.ts';
import type { RunAttempt, RunStore } from './contract.ts';
import { artifactKey, logKey } from './keys.ts';
import type { ResultsHub } from './hub.ts';
import { isStoreError } from './store/errors.ts';

export interface RuntimeSinkOptions {
  store: RunStore;
  hub: ResultsHub;
  attempt: RunAttempt;
  /** Bytes. */
  maxArtifactBytes: number;
  /** Artifacts of these names may leave the cluster when the run is synced. */
  committed: ReadonlySet<string>;
  signal: AbortSignal;
}

/** More than the profile allows for one artifact. */
class TooLarge extends Error {}

/**
 * Where a vendor's results go: straight from its answer into the run store, never whole in memory. Giving the same
 * thing again changes nothing. Throws StoreErrors, and whatever reading the bytes throws.
 */
export class RuntimeSink {
  readonly #o: RuntimeSinkOptions;

  constructor(options: RuntimeSinkOptions) {
    this.#o = options;
  }

  /** Secrets are replaced on the way: a vendor may repeat the token that it was sent. Answers the log's key. */
  async log(text: AsyncIterable<Buffer>): Promise<string> {
    const { store, hub, attempt, signal } = this.#o;
    const path = logKey(attempt, 0);
    const redactor = new Redactor(secretsInUse.fingerprints());
    async function* redacted(): AsyncGenerator<Buffer> {
      for await (const chunk of text) yield redactor.push(chunk);
      yield redactor.flush();
    }
    const bytes = await this.#write(path, redacted(), 'text/plain; charset=utf-8');
    await hub.setLog(
      attempt,
      0,
      {
        path,
        bytes: bytes?.size ?? (await store.get(path, signal))?.size ?? 0,
        complete: true,
        headLost: false,
        gaps: 0,
        redacted: redactor.replaced,
      },
      signal,
    );
    return path;
  }

  async artifact(what: {
    name: string;
    path: string;
    contentType: string;
    body: AsyncIterable<Buffer>;
  }): Promise<StoredArtifact> {
    const { attempt, committed, maxArtifactBytes } = this.#o;
    const { name, path, contentType } = what;
    const artifact = { name, path, rank: 0, contentType, commit: committed.has(name) };
    // Its bytes are not known yet: the place follows from what it is, so that a second copy meets the first.
    const place = createHash('sha256').update(`${name}\0${path}`).digest('hex');
    const file =
      path
        .split('/')
        .at(-1)!
        .replaceAll(/[^A-Za-z0-9_.-]/g, '_')
        .replace(/^[.-]+/, '_')
        .slice(-200) || 'file';
    const key = artifactKey(attempt, 0, place, file);
    try {
      const written =
        (await this.#write(key, capped(what.body, maxArtifactBytes), contentType)) ?? (await this.#stored(key));
      return { ...artifact, path: key, sizeBytes: written.size, sha256: written.sha256, state: 'Stored' };
    } catch (error) {
      if (!(error instanceof TooLarge)) throw error;
      return {
        ...artifact,
        state: 'Refused',
        message: `larger than the ${maxArtifactBytes} bytes that the profile allows`,
      };
    }
  }

  /** Undefined when other bytes are there already: those of the first copy stand. */
  async #write(
    key: string,
    body: AsyncIterable<Buffer>,
    contentType: string,
  ): Promise<{ size: number; sha256: string } | undefined> {
    try {
      return await this.#o.store.write(key, body, contentType, this.#o.signal);
    } catch (error) {
      if (isStoreError(error, 'conflict')) return undefined;
      throw error;
    }
  }

  async #stored(key: string): Promise<{ size: number; sha256: string }> {
    const object = await this.#o.store.get(key, this.#o.signal);
    const hash = createHash('sha256');
    let size = 0;
    for await (const chunk of (await object!.open(undefined, this.#o.signal)) as AsyncIterable<Buffer>) {
      hash.update(chunk);
      size += chunk.length;
    }
    return { size, sha256: hash.digest('hex') };
  }
}

async function* capped(body: AsyncIterable<Buffer>, most: number): AsyncGenerator<Buffer> {
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > most) throw new TooLarge();
    yield chunk;
  }
}
