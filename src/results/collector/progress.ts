import type { ProgressPost } from '../protocol.ts';
import type { OutputTree } from './output-tree.ts';
import { lastStep } from './series.ts';

/** Below the output folder: `{"percent": 40, "etaSeconds": 120, "step": 4000}`, every key optional. */
export const PROGRESS_FILE = 'progress.json';
const LARGEST = 4096;

/** What the run says of itself now. A half-written or broken file says nothing. */
export async function readProgress(tree: OutputTree, seriesFile: string): Promise<ProgressPost> {
  const said = await readSaid(tree);
  const step = natural(said['step']) ?? (await lastStep(tree, seriesFile).catch(() => undefined));
  const percent = finite(said['percent']);
  const etaSeconds = finite(said['etaSeconds']);
  return {
    ...(percent === undefined || percent < 0 ? {} : { percent: Math.min(100, percent) }),
    ...(etaSeconds === undefined || etaSeconds < 0 || etaSeconds > 1e9 ? {} : { etaSeconds }),
    ...(step === undefined ? {} : { step }),
  };
}

async function readSaid(tree: OutputTree): Promise<Record<string, unknown>> {
  try {
    const { bytes, size } = await tree.readFile(PROGRESS_FILE, LARGEST);
    if (size > LARGEST) return {};
    const value: unknown = JSON.parse(bytes.toString('utf8'));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function finite(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

function natural(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}
