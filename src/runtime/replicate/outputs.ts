import mime from 'mime/lite';
import type { ProfileRef } from '../contract.ts';
import { hostMatches, hostOf } from '../../net/url-guard.ts';
import { endpointOf } from './client.ts';

/** What a prediction's output is made of: files somewhere, files within it, and plain values. Pure. */

/** Where the vendor keeps outputs. */
export const DELIVERY_HOSTS: readonly string[] = ['replicate.delivery', '*.replicate.delivery'];

/** The status holds 64 artifacts; one is for what the rest was. */
const MOST_FILES = 62;

/** Values that are nested deeper are left out: walking and writing them would take the stack. */
const DEEPEST = 64;

export type OutputPart =
  | { readonly from: 'url'; readonly url: URL; readonly name: string; readonly extension: string | undefined }
  | { readonly from: 'data'; readonly type: string; readonly bytes: Buffer; readonly name: string }
  /** Not copied; `message` says why. */
  | { readonly from: 'nowhere'; readonly name: string; readonly message: string };

export interface Outputs {
  readonly parts: readonly OutputPart[];
  /** Everything that is no file, with the names of parts in the place of files; undefined where nothing is left. */
  readonly value: { readonly json: unknown } | { readonly text: string } | undefined;
  /** Files beyond the most that a run can have. */
  readonly left: number;
}

export function outputsOf(output: unknown, profile: ProfileRef): Outputs {
  if (output === null || output === undefined) return { parts: [], value: undefined, left: 0 };
  const walk = new Walk(profile);
  const rest = walk.visit(output, []);
  const { parts, left } = walk;
  // A lone file, or a list of nothing else, is told by the artifacts themselves.
  const isFile = (value: unknown): boolean => walk.files.has(value as object);
  if (isFile(rest) || (Array.isArray(rest) && rest.length > 0 && rest.every(isFile))) {
    return { parts, left, value: undefined };
  }
  return { parts, left, value: typeof rest === 'string' ? { text: rest } : { json: rest } };
}

class Walk {
  readonly parts: OutputPart[] = [];
  /** What stands in the place of files. */
  readonly files = new Set<object>();
  left = 0;
  readonly #names = new Set<string>();
  readonly #hosts: readonly string[];

  constructor(profile: ProfileRef) {
    const endpoint = hostOf(new URL(endpointOf(profile)));
    this.#hosts = [...DELIVERY_HOSTS, endpoint, ...(profile.spec.network?.allowedHosts ?? [])];
  }

  /** The value with names in the place of files. */
  visit(value: unknown, path: readonly string[]): unknown {
    if (path.length > DEEPEST) return '[nested too deeply]';
    if (typeof value === 'string') return this.#string(value, path);
    if (Array.isArray(value)) return value.map((item, i) => this.visit(item, [...path, String(i)]));
    if (typeof value === 'object' && value !== null)
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, this.visit(item, [...path, key])]));
    return value;
  }

  #string(value: string, path: readonly string[]): unknown {
    if (!isFileText(value)) return value;
    if (this.parts.length >= MOST_FILES) {
      this.left += 1;
      return this.#inPlace(null);
    }
    const data = dataOf(value);
    if (data !== undefined) return this.#add({ from: 'data', ...data, name: this.#name(path) });
    const url = new URL(value);
    if (hostMatches(hostOf(url), this.#hosts))
      return this.#add({ from: 'url', url, name: this.#name(path), extension: extensionOf(url) });
    // Perhaps a link that is the answer itself, perhaps a file at a place that nobody has allowed.
    const message = `not copied: ${url.host} is no host of Replicate’s outputs; add it to the profile’s spec.network.allowedHosts if it is one`;
    this.parts.push({ from: 'nowhere', name: this.#name(path), message });
    return url.origin + url.pathname;
  }

  #add(part: OutputPart): unknown {
    this.parts.push(part);
    return this.#inPlace(part.name);
  }

  #inPlace(artifact: string | null): object {
    const file = { artifact };
    this.files.add(file);
    return file;
  }

  /** From where it stands in the output; unique, and what an artifact may be called. */
  #name(path: readonly string[]): string {
    const words = path.length === 0 || /^\d+$/.test(path[0]!) ? ['output', ...path] : path;
    const stem = words
      .join('-')
      .replaceAll(/[^A-Za-z0-9_.-]+/g, '_')
      .slice(0, 48)
      .replaceAll(/^[^A-Za-z0-9]+|[^A-Za-z0-9]+$/g, '');
    const base = stem === '' ? 'output' : stem;
    let name = base;
    for (let n = 2; this.#names.has(name); n += 1) name = `${base}-${n}`;
    this.#names.add(name);
    return name;
  }
}

/** A URL, whole and alone, or bytes in one. */
function isFileText(value: unknown): value is string {
  if (typeof value !== 'string') return false;
  if (/^data:[^,]{0,256},/s.test(value)) return true;
  return /^https?:\/\/\S+$/.test(value) && URL.canParse(value);
}

function dataOf(value: string): { type: string; bytes: Buffer } | undefined {
  const match = /^data:([^,;]*)((?:;[^,;]*)*),/s.exec(value);
  if (match === null) return undefined;
  const [head, type = '', parameters = ''] = match;
  const body = value.slice(head.length);
  const bytes = /;base64$/i.test(parameters) ? Buffer.from(body, 'base64') : Buffer.from(unescaped(body));
  return { type: mediaType(type) ?? 'text/plain', bytes };
}

function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function extensionOf({ pathname }: URL): string | undefined {
  return /\.([A-Za-z0-9]{1,8})$/.exec(pathname)?.[1]?.toLowerCase();
}

/** Without its parameters; undefined where it is no media type. */
export function mediaType(header: string | null | undefined): string | undefined {
  const type = header?.split(';')[0]?.trim().toLowerCase() ?? '';
  return /^[a-z0-9][a-z0-9!#$&^_.+-]{0,62}\/[a-z0-9][a-z0-9!#$&^_.+-]{0,62}$/.test(type) ? type : undefined;
}

const UNSPECIFIC = 'application/octet-stream';

/** Where an artifact lies and what it is, from what its server says and what its URL ends with. */
export function fileOf(name: string, served: string | undefined, extension: string | undefined) {
  const contentType =
    served !== undefined && served !== UNSPECIFIC ? served : (mime.getType(extension ?? '') ?? UNSPECIFIC);
  const ending = extension ?? mime.getExtension(contentType) ?? 'bin';
  return { contentType, path: name.endsWith(`.${ending}`) ? name : `${name}.${ending}` };
}
