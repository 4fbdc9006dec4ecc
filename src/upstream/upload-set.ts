import { createHash } from 'node:crypto';
import type { Transform } from 'node:stream';
import canonicalize from 'canonicalize';
import { manifestSchema, type Manifest } from '../crds/manifest.ts';

/**
 * The closed set of what may leave: manifest fields, metric numbers, log lines, and artifacts marked `commit`.
 *
 * It is closed by construction. A set is made from a manifest alone, and the manifest's schema refuses every key that it
 * does not know: a namespace, a node name, a pod spec or the value of a variable has no place to stand in.
 */

/** Replaces secrets in text; the same text always gives the same text. */
export interface TextRedactor {
  redact(text: string): string;
  /** The same over a stream of UTF-8, across the borders of its chunks. */
  stream(): Transform;
}

/** An artifact whose bytes may leave, as the manifest vouches for it. */
export interface CommittedArtifact {
  readonly name: string;
  readonly path: string;
  /** Null where only one rank's artifacts are kept. */
  readonly rank: number | null;
  /** Bytes. */
  readonly sizeBytes: number;
  /** Lower-case hex. */
  readonly sha256: string;
  readonly contentType: string;
}

export class UploadSet {
  /** RFC 8785 canonical JSON of the redacted manifest: what is sent, byte for byte, on every try. */
  readonly manifest: string;
  /** `sha256:<hex>` of those bytes. */
  readonly manifestDigest: string;
  readonly clientRunId: string;
  readonly metrics: Readonly<Record<string, number>>;
  readonly artifacts: readonly CommittedArtifact[];

  private constructor(text: string, manifest: Manifest) {
    this.manifest = text;
    this.manifestDigest = `sha256:${createHash('sha256').update(text).digest('hex')}`;
    this.clientRunId = manifest.client_run_id;
    this.metrics = manifest.metrics;
    this.artifacts = manifest.artifacts.flatMap((artifact) => {
      if (!artifact.commit || artifact.state !== 'Stored' || artifact.sha256 === null || artifact.size_bytes === null)
        return [];
      return [
        {
          name: artifact.name,
          path: artifact.path,
          rank: artifact.rank,
          sizeBytes: artifact.size_bytes,
          sha256: artifact.sha256.replace(/^sha256:/, ''),
          contentType: artifact.content_type ?? 'application/octet-stream',
        },
      ];
    });
  }

  /** From a manifest as recorded. Throws a ZodError for anything that is not one. */
  static fromManifest(recorded: unknown, redactor: TextRedactor): UploadSet {
    const manifest = manifestSchema.parse(redacted(manifestSchema.parse(recorded), redactor));
    return new UploadSet(canonicalize(manifest) ?? '', manifest);
  }

  /** From the bytes of an earlier try. They are sent as they are, whatever has been learnt about redaction since. */
  static fromBytes(text: string): UploadSet {
    return new UploadSet(text, manifestSchema.parse(JSON.parse(text)));
  }
}

/** Digests, ids and times are no secrets, and a pattern for long random text would take some of them for one. */
const NEVER_SECRET = new Set([
  'client_run_id',
  'schema_version',
  'status',
  'digest',
  'input_digest',
  'result_digest',
  'sha256',
  'tree_digest',
  'commit',
  'started_at',
  'finished_at',
]);

/** UTF-16 units, as the schema has them. A text that was cut behind `password=[red` grows when it is redacted again. */
const LONGEST_TEXT = 512;
const LONGEST_NAME = 128;

/** Every string of it, keys of maps included: a metric may be named after anything. */
function redacted(value: unknown, redactor: TextRedactor): unknown {
  if (typeof value === 'string') return redactor.redact(value).slice(0, LONGEST_TEXT).toWellFormed();
  if (Array.isArray(value)) return value.map((item) => redacted(item, redactor));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) =>
      NEVER_SECRET.has(key) ? [key, item] : [redactor.redact(key).slice(0, LONGEST_NAME), redacted(item, redactor)],
    ),
  );
}
