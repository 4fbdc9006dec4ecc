import { createHash } from 'node:crypto';
import type { Plan, RuntimeIo } from '../contract.ts';
import { RuntimeError } from '../errors.ts';
import type { Operation } from '../vendor-http.ts';
import { file, type VendorFile } from './answers.ts';
import { ask, endpointOf, TOKEN } from './client.ts';
import { isRefused } from './faults.ts';
import { pages } from './pages.ts';
import { uploadId, type PredictionRequest } from './plan.ts';

/** What our uploads are known by in the account; a user's own file of the same content is left alone. */
const MARK = 'worldflux.ai/sha256';
/** How far back an upload of another process is looked for; pages. */
const PAGES_LOOKED_AT = 10;
/** A file must last until the model has read it: at most this much of the deadline. Milliseconds. */
const READ_WITHIN_MS = 6 * 3600 * 1000;
/** What is remembered can be asked for again. */
const MOST_REMEMBERED = 10_000;

/**
 * Files of requests in the vendor's account. One content is uploaded once while it lasts there, whoever asks; what is
 * remembered is only a hint, and a process that has forgotten looks at the vendor's list.
 */
export class Uploads {
  readonly #known = new Map<string, Promise<VendorFile>>();

  /** Every file of the plan is there; its URL by its digest. Throws RuntimeError. */
  async ensure(plan: Plan, io: RuntimeIo): Promise<ReadonlyMap<string, string>> {
    const { files } = plan.request as PredictionRequest;
    const until = io.now() + Math.min(plan.deadlineSeconds * 1000, READ_WITHIN_MS);
    const urls = new Map<string, string>();
    for (const { sha256, path } of files) {
      const source = plan.context.files.get(path);
      if (source === undefined) throw new RuntimeError({ kind: 'user' }, `the source holds no ${path}`);
      if (urls.has(sha256)) continue;
      const { runId, spec } = plan.context;
      const upload = { sha256, path, bytes: source.bytes, runId, capability: spec.request?.capability ?? 'unknown' };
      const there = await this.#have(upload, until, io);
      this.#remember(keyOf(there.id, io), Promise.resolve(there));
      urls.set(sha256, there.urls.get);
    }
    return urls;
  }

  /** An input as a digest sees it: URLs of our uploads give way to what `as` makes of the content. */
  async withoutUrls(
    input: unknown,
    as: (sha256: string) => unknown,
    io: RuntimeIo,
  ): Promise<{ readonly known: true; readonly input: unknown } | { readonly known: false }> {
    if (typeof input !== 'object' || input === null) return { known: true, input };
    const out: [string, unknown][] = [];
    for (const [name, value] of Object.entries(input)) {
      const id = typeof value === 'string' ? uploadId(value) : undefined;
      const content = id === undefined ? 'foreign' : await this.#contentOf(id, io);
      if (content === 'gone') return { known: false };
      out.push([name, content === 'foreign' ? value : as(content.sha256)]);
    }
    return { known: true, input: Object.fromEntries(out) };
  }

  async #have(upload: Upload, until: number, io: RuntimeIo): Promise<VendorFile> {
    const key = keyOf(upload.sha256, io);
    const begun = this.#known.get(key);
    // Two hundred runs with one file ask at the same time: the first one's upload is everybody's.
    const known = await begun?.catch(() => undefined);
    if (known !== undefined && lasts(known, until)) return known;
    if (this.#known.get(key) !== begun) return this.#have(upload, until, io);
    const fresh = findOrUpload(upload, until, io);
    this.#remember(key, fresh);
    return fresh;
  }

  #remember(key: string, found: Promise<VendorFile>): void {
    if (this.#known.size >= MOST_REMEMBERED) this.#known.clear();
    this.#known.set(key, found);
  }

  async #contentOf(id: string, io: RuntimeIo): Promise<{ sha256: string } | 'foreign' | 'gone'> {
    const key = keyOf(id, io);
    let known = this.#known.get(key);
    if (known === undefined) {
      known = ask(
        io,
        { class: 'polling', name: 'file get' },
        (replicate) => replicate.files.get(id, { signal: io.signal }),
        file,
      );
      this.#remember(key, known);
    }
    try {
      const sha256 = markOf(await known);
      return sha256 === undefined ? 'foreign' : { sha256 };
    } catch (error) {
      this.#known.delete(key);
      if (isRefused(error, 404)) return 'gone';
      throw error;
    }
  }
}

interface Upload {
  readonly sha256: string;
  readonly path: string;
  readonly bytes: Buffer;
  readonly runId: string;
  readonly capability: string;
}

async function findOrUpload(upload: Upload, until: number, io: RuntimeIo): Promise<VendorFile> {
  const { sha256, path, bytes, runId, capability } = upload;
  const operation = (name: string): Operation => ({ class: 'polling', name, runId, capability });
  let looked = 0;
  for await (const rows of pages(io, operation('file list'), '/files')) {
    for (const row of rows) {
      const { data } = file.safeParse(row);
      if (data !== undefined && markOf(data) === sha256 && data.size === bytes.length && lasts(data, until))
        return data;
    }
    looked += 1;
    if (looked === PAGES_LOOKED_AT) break;
  }
  // The end of its name tells some models what it is.
  const name = path.split('/').at(-1) ?? 'file';
  return ask(
    io,
    { class: 'request', name: 'file create', runId, capability },
    (replicate) => replicate.files.create(new File([new Uint8Array(bytes)], name), { [MARK]: sha256 }),
    file,
  );
}

/** Lower-case hex; undefined for a file that is not ours, or whose content the vendor itself sums up differently. */
function markOf({ metadata, checksums }: VendorFile): string | undefined {
  const mark = metadata?.[MARK];
  if (typeof mark !== 'string') return undefined;
  const sum = checksums?.sha256;
  return sum === undefined || sum === mark ? mark : undefined;
}

const lasts = ({ expires_at }: VendorFile, until: number): boolean => expires_at === undefined || expires_at > until;

/** Per account: another token may see another account's files. */
function keyOf(what: string, io: RuntimeIo): string {
  return createHash('sha256')
    .update(`${endpointOf(io.profile)}\0${io.credentials[TOKEN]}\0${what}`)
    .digest('hex');
}
