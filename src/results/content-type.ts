/** What users' results usually are. Nothing here may make a browser run what a user's code wrote: no HTML, SVG or script. */
const TYPES: Record<string, string> = {
  csv: 'text/csv',
  gif: 'image/gif',
  gz: 'application/gzip',
  h5: 'application/x-hdf5',
  jpeg: 'image/jpeg',
  jpg: 'image/jpeg',
  json: 'application/json',
  jsonl: 'application/x-ndjson',
  log: 'text/plain; charset=utf-8',
  md: 'text/markdown; charset=utf-8',
  mp4: 'video/mp4',
  npy: 'application/x-npy',
  npz: 'application/zip',
  parquet: 'application/vnd.apache.parquet',
  pdf: 'application/pdf',
  png: 'image/png',
  tar: 'application/x-tar',
  txt: 'text/plain; charset=utf-8',
  wav: 'audio/wav',
  webm: 'video/webm',
  yaml: 'application/yaml',
  yml: 'application/yaml',
  zip: 'application/zip',
  zst: 'application/zstd',
};

export const BYTES = 'application/octet-stream';

/** By the extension of a file name or key, whatever its case. */
export function contentTypeOf(name: string): string {
  return TYPES[extensionOf(name)] ?? BYTES;
}

/** Lower-case, without the dot; empty for none, and for one that is not plain letters and digits. */
export function extensionOf(name: string): string {
  return /\.([A-Za-z0-9]{1,12})$/.exec(name)?.[1]?.toLowerCase() ?? '';
}
