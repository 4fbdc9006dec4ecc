/**
 * What the results API serves, for those who ask it: `kubectl get --raw`, the CLI, and whoever has a Kubernetes client.
 *
 *     /apis/results.worldflux.ai/v1alpha1/namespaces/<namespace>/worldruns/<name>/{log,manifest,artifacts,events}
 */

export const RESULTS_GROUP = 'results.worldflux.ai';
export const RESULTS_VERSION = 'v1alpha1';
export const RESULTS_API_VERSION = `${RESULTS_GROUP}/${RESULTS_VERSION}`;
export const RESULTS_ROOT = `/apis/${RESULTS_API_VERSION}`;

/** The parts of a run that are read, each with the kind that discovery names. */
export const RESULTS = {
  log: 'WorldRunLog',
  manifest: 'WorldRunManifest',
  artifacts: 'WorldRunArtifacts',
  events: 'WorldRunEvents',
} as const;
export type ResultsPart = keyof typeof RESULTS;

export type ResultsQuery = Record<string, string | number | undefined>;

/** Path and query of one part of a run. */
export function resultsPath(
  run: { namespace: string; name: string },
  part: ResultsPart,
  query: ResultsQuery = {},
): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  const text = given.map(([name, value]) => `${name}=${encodeURIComponent(value ?? '')}`).join('&');
  const path = `${RESULTS_ROOT}/namespaces/${encodeURIComponent(run.namespace)}/worldruns/${encodeURIComponent(run.name)}/${part}`;
  return text === '' ? path : `${path}?${text}`;
}

/** GET artifacts. */
export interface ArtifactList {
  apiVersion: typeof RESULTS_API_VERSION;
  kind: typeof RESULTS.artifacts;
  metadata: { namespace: string; name: string; uid: string };
  /** False while the run goes on: what it names is known only at its end. */
  complete: boolean;
  items: ArtifactItem[];
}

export interface ArtifactItem {
  name: string;
  /** Tells the artifacts of one name apart, where every node of a run leaves one. */
  rank: number;
  /** Only `Stored` ones can be read. */
  state: string;
  /** What a download is best called; only of stored ones. */
  fileName?: string;
  sizeBytes?: number;
  /** Files in a folder's tar. */
  count?: number;
  /** `sha256:<hex>` of the bytes as they are read here. */
  sha256?: string;
  treeDigest?: string;
  contentType?: string;
  commit: boolean;
  message?: string;
}

/**
 * GET artifacts?name=…, where the run store is S3: large bytes never pass through the operator, nor through the API
 * server, which refuses to hand redirects on.
 */
export interface ArtifactLocation {
  apiVersion: typeof RESULTS_API_VERSION;
  kind: 'WorldRunArtifactLocation';
  /** A credential for these bytes alone, until `expiresAt`. */
  url: string;
  /** RFC 3339. */
  expiresAt: string;
  fileName: string;
  sizeBytes: number;
  sha256?: string;
}

/** Content type of an ArtifactLocation. No artifact has it: theirs come from a list of harmless ones. */
export const LOCATION_TYPE = 'application/vnd.worldflux.location+json';
