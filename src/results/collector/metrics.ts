import { OutputError, type OutputTree } from './output-tree.ts';
import type { Clean } from './words.ts';

export interface Metrics {
  metrics: Record<string, number>;
  metricsOmitted: number;
  metricsProblem?: string;
}

const LARGEST_FILE = 1024 * 1024;
const MOST_METRICS = 256;
const LONGEST_NAME = 128;

/** A run's metrics: a flat JSON object of finite numbers. What is anything else is left out, counted and named. */
export async function readMetrics(tree: OutputTree, path: string): Promise<Metrics> {
  try {
    const { bytes, size } = await tree.readFile(path, LARGEST_FILE);
    if (size > LARGEST_FILE) return none(`${path} holds ${size} bytes, at most ${LARGEST_FILE} are read`);
    return parseMetrics(bytes, path);
  } catch (error) {
    if (!(error instanceof OutputError)) return none(`${path} could not be read`);
    return none(error.kind === 'missing' ? `${path} was not written` : `${path} ${error.message}`);
  }
}

/** The names are words of the run's own code; two of which nothing else is left become one. */
export function withCleanNames({ metrics, metricsProblem, ...rest }: Metrics, clean: Clean): Metrics {
  return {
    ...rest,
    metrics: Object.fromEntries(
      Object.entries(metrics).map(([name, value]) => [clean(name).slice(0, LONGEST_NAME), value]),
    ),
    ...(metricsProblem === undefined ? {} : { metricsProblem: clean(metricsProblem) }),
  };
}

export function parseMetrics(bytes: Buffer, path: string): Metrics {
  const text = bytes.toString('utf8').replace(/^\uFEFF/, '');
  const value = parseJson(text);
  if (value === undefined) return none(`${path} is no JSON`);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return none(`${path} holds ${Array.isArray(value) ? 'an array' : 'no object'}; it must be an object of numbers`);
  }
  const metrics: [string, number][] = [];
  const omitted: string[] = [];
  for (const [name, entry] of Object.entries(value)) {
    if (metrics.length >= MOST_METRICS) omitted.push(`${name} (over ${MOST_METRICS} entries)`);
    else if (name === '' || name.length > LONGEST_NAME)
      omitted.push(`${name.slice(0, 32)} (a name of 1 to ${LONGEST_NAME} characters is taken)`);
    else if (typeof entry !== 'number') omitted.push(`${name} (${kindOf(entry)})`);
    else if (!Number.isFinite(entry)) omitted.push(`${name} (not finite)`);
    // JSON has no -0 that survives being written again.
    else metrics.push([name, entry === 0 ? 0 : entry]);
  }
  return {
    metrics: Object.fromEntries(metrics),
    metricsOmitted: omitted.length,
    ...(omitted.length === 0 ? {} : { metricsProblem: describe(omitted) }),
  };
}

/** Also Python's `NaN` and `Infinity`, which are no JSON: their entries alone are lost, not the whole file. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    const marked = text.replaceAll(/"(?:[^"\\]|\\.)*"|-?\bInfinity\b|\bNaN\b/gs, (token) =>
      token.startsWith('"') ? token : '1e999',
    );
    try {
      return JSON.parse(marked);
    } catch {
      return undefined;
    }
  }
}

function none(metricsProblem: string): Metrics {
  return { metrics: {}, metricsOmitted: 0, metricsProblem };
}

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'string' ? 'a text' : typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

function describe(omitted: string[]): string {
  const more = omitted.length > 5 ? ` and ${omitted.length - 5} more` : '';
  return `left out: ${omitted.slice(0, 5).join(', ')}${more}`.slice(0, 512);
}
