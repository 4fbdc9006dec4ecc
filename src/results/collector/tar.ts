/** A tar archive that is never made: its bytes follow from the list of entries, so that any part of it can be read. */

export interface TarEntry {
  path: string;
  /** Bytes; 0 for a link. */
  size: number;
  executable: boolean;
  /** Target of a symbolic link. */
  link?: string;
}

export const BLOCK = 512;
/** Two empty blocks. */
export const TRAILER = 2 * BLOCK;
const LARGEST_OCTAL = 8 ** 11;

/** Bytes of content and what fills it up to a whole block. */
export function paddedSize(size: number): number {
  return Math.ceil(size / BLOCK) * BLOCK;
}

/** Everything before an entry's content. Owner, time and rights say nothing, so that equal files give equal archives. */
export function tarHeader(entry: TarEntry): Buffer {
  const extra: [string, string][] = [];
  if (!fits(entry.path, 100)) extra.push(['path', entry.path]);
  if (entry.link !== undefined && !fits(entry.link, 100)) extra.push(['linkpath', entry.link]);
  if (entry.size >= LARGEST_OCTAL) extra.push(['size', String(entry.size)]);
  const size = Math.min(entry.size, LARGEST_OCTAL - 1);
  const own = block(entry.path, size, entry.link === undefined ? '0' : '2', entry.executable, entry.link ?? '');
  if (extra.length === 0) return own;
  const records = Buffer.concat(extra.map(([key, value]) => paxRecord(key, value)));
  const padding = Buffer.alloc(paddedSize(records.length) - records.length);
  return Buffer.concat([block('PaxHeader/entry', records.length, 'x', false, ''), records, padding, own]);
}

/** ASCII of at most this length: everything else needs an extended header. */
function fits(text: string, length: number): boolean {
  return text.length <= length && /^[\x20-\x7e]*$/.test(text);
}

/** `<length> key=value\n`, where the length counts itself. */
function paxRecord(key: string, value: string): Buffer {
  const rest = Buffer.byteLength(` ${key}=${value}\n`);
  let length = rest + String(rest).length;
  if (rest + String(length).length !== length) length = rest + String(length).length;
  return Buffer.from(`${length} ${key}=${value}\n`);
}

function block(path: string, size: number, type: string, executable: boolean, link: string): Buffer {
  const header = Buffer.alloc(BLOCK);
  // What does not fit is in the extended header; a reader without it still gets a name.
  const name = /^[\x20-\x7e]*$/.test(path) ? path : path.replaceAll(/[^\x20-\x7e]/g, '_');
  header.write(name.slice(-100), 0, 'latin1');
  header.write(octal(executable ? 0o755 : 0o644, 8), 100);
  header.write(octal(0, 8), 108);
  header.write(octal(0, 8), 116);
  header.write(octal(size, 12), 124);
  header.write(octal(0, 12), 136);
  header.write(' '.repeat(8), 148);
  header.write(type, 156);
  header.write(link.slice(0, 100), 157, 'latin1');
  header.write('ustar\x0000', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}

function octal(value: number, width: number): string {
  return `${value.toString(8).padStart(width - 1, '0')}\0`;
}
