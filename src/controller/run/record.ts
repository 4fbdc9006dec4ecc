import type { Manifest } from '../../crds/manifest.ts';
import type { StoredArtifact, StoredLog } from '../../crds/world-run-status.ts';

/** `run.json` in the run store: what stays of a finished run when its object is gone. */
export interface RunRecord {
  schemaVersion: 1;
  clientRunId: string;
  runId: string;
  runKey: string | undefined;
  namespace: string;
  name: string;
  uid: string;
  /** SHA-256 of the spec's canonical JSON. */
  specDigest: string;
  succeeded: boolean;
  reason: string;
  message: string;
  manifest: Manifest;
  manifestDigest: string;
  artifacts: StoredArtifact[];
  log: StoredLog | undefined;
  /** RFC 3339. */
  finishedAt: string;
  storedBytes: number;
}
