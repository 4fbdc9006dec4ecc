import type { FingerprintSet } from '../../telemetry/fingerprints.ts';
import { Redactor } from '../../telemetry/redaction.ts';

export type Clean = (text: string) => string;

const MOST_KEPT = 4096;
const LONGEST_KEPT = 128;

/**
 * Takes secrets out of the words that a run's own code made up, such as names of metrics: values by their fingerprints,
 * and whatever looks like one. A name comes back with every step, so names are remembered.
 */
export function wordCleaner(fingerprints: FingerprintSet | undefined): Clean {
  const kept = new Map<string, string>();
  return (text) => {
    const known = kept.get(text);
    if (known !== undefined) return known;
    const redactor = new Redactor(fingerprints);
    const clean = Buffer.concat([redactor.push(Buffer.from(text)), redactor.flush()]).toString('utf8');
    if (text.length <= LONGEST_KEPT && kept.size < MOST_KEPT) kept.set(text, clean);
    return clean;
  };
}
