import { createHash } from 'node:crypto';
import { onTestFinished } from 'vitest';
import { startReplicate, TOKEN, type FakeOptions } from '../../../../test/fakes/replicate/server.ts';
import { runtimeProfileSpec, type ReplicateProfile } from '../../../crds/runtime-profile.ts';
import { worldRunSpec } from '../../../crds/world-run.ts';
import type { StoredArtifact } from '../../../crds/world-run-status.ts';
import type { Plan, ProfileRef, ResultSink, RuntimeContext, RuntimeIo, SendOnce, SourceFile } from '../../contract.ts';
import { aVendorHttp, type Wishes } from '../../testing/a-vendor-http.ts';
import { ReplicateRuntime } from '../runtime.ts';

export interface VendorWishes extends Pick<Wishes, 'policy' | 'maxDownloadBytes'> {
  replicate?: Partial<ReplicateProfile>;
  fake?: FakeOptions;
  credentials?: Record<string, string>;
  signal?: AbortSignal;
}

export const MODEL_BLOCK = { model: 'acme/dreamer' };

export function aProfile(
  replicate: Partial<ReplicateProfile> = MODEL_BLOCK,
  more: Record<string, unknown> = {},
): ProfileRef {
  const spec = runtimeProfileSpec.parse({
    runtime: 'replicate',
    replicate,
    credentials: { secretRef: { name: 'replicate' } },
    allowedNamespaces: {},
    ...more,
  });
  return { name: 'hosted', digest: `sha256:${'0'.repeat(64)}`, spec };
}

export function aContext(
  profile: ProfileRef,
  spec: Record<string, unknown> = { request: { prompt: 'a cup on a table' } },
  files: Record<string, string> = {},
): RuntimeContext {
  return {
    installationId: 'installation',
    clientRunId: '6f6b5f3e-0000-5000-8000-000000000000',
    runId: '20261121T000000Z-aaaaaaaa',
    namespace: 'team-a',
    name: 'cup',
    uid: 'aaaaaaaa-0000-4000-8000-000000000000',
    attempt: 1,
    spec: worldRunSpec.parse(spec),
    profile,
    files: new Map(Object.entries(files).map(([path, text]) => [path, aFile(text)])),
  };
}

export function aFile(text: string): SourceFile {
  const bytes = Buffer.from(text);
  return { bytes, sha256: createHash('sha256').update(bytes).digest('hex') };
}

/** The runtime as it will be used, against the stand-in over real HTTP. */
export async function aVendor(wishes: VendorWishes = {}) {
  const fake = await startReplicate(wishes.fake);
  onTestFinished(() => fake.close());
  const profile = aProfile(
    { ...(wishes.replicate ?? MODEL_BLOCK), endpoint: fake.url },
    { network: { allowPlainHTTP: true, allowPrivateEndpoints: true } },
  );
  const signal = wishes.signal ?? new AbortController().signal;
  const { http, slept, events, now, connections } = aVendorHttp({
    ...wishes,
    signal,
    scope: { endpoint: fake.url, values: [TOKEN] },
  });
  onTestFinished(() => connections.destroy());
  const io: RuntimeIo = {
    profile,
    credentials: wishes.credentials ?? { REPLICATE_API_TOKEN: TOKEN },
    http,
    signal,
    now: () => Math.max(now(), fake.state.now()),
  };
  const runtime = new ReplicateRuntime();
  const plan = (spec?: Record<string, unknown>, files?: Record<string, string>): Plan => {
    const made = runtime.plan(aContext(profile, spec, files));
    if (!made.ok) throw new Error(made.message);
    return made;
  };
  const once = (wish: Partial<SendOnce> = {}) => ({
    ...io,
    once: { notAfter: Date.now() + 60_000, maySend: () => undefined, ...wish },
  });
  const create = (spec?: Record<string, unknown>, files?: Record<string, string>) =>
    runtime.create(plan(spec, files), once());
  return { fake, runtime, io, profile, plan, once, create, slept, events };
}

/** Keeps what it is given. `most`: bytes of one artifact. */
export class KeepingSink implements ResultSink {
  readonly kept = new Map<string, { bytes: Buffer; contentType: string }>();
  /** Pieces in which the largest artifact came. */
  pieces = 0;
  logText: string | undefined;
  readonly #most: number;

  constructor(most = Infinity) {
    this.#most = most;
  }

  async log(text: AsyncIterable<Buffer>): Promise<string> {
    this.logText = (await listed(text)).join('');
    return 'logs/run.log';
  }

  async artifact(what: Parameters<ResultSink['artifact']>[0]): Promise<StoredArtifact> {
    const { name, path, contentType } = what;
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of what.body) {
      size += chunk.length;
      if (size > this.#most) return { name, path, commit: false, state: 'Refused', message: 'too large' };
      chunks.push(chunk);
    }
    this.pieces = Math.max(this.pieces, chunks.length);
    const bytes = Buffer.concat(chunks);
    this.kept.set(path, { bytes, contentType });
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    return { name, path, contentType, sizeBytes: size, sha256, commit: false, state: 'Stored' };
  }

  text(path: string): string | undefined {
    return this.kept.get(path)?.bytes.toString();
  }
}

export async function listed<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}
