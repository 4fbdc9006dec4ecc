import type { CollectedResult } from './contract.ts';

/**
 * The way out when the gateway cannot be reached: the metrics, in the message that the kubelet takes from the collector's
 * container. One line, `worldflux/1 {json}`; the line break at its end says that it is whole.
 */
const PREFIX = 'worldflux/1 ';
/** The kubelet keeps 4 KiB a container and 12 KiB a pod. */
const LARGEST = 2048;

interface Message {
  metrics: Record<string, number>;
  /** Left out by the collector, and here for want of room. */
  omitted: number;
  problem?: string;
}

/** As many metrics as fit, in their order. */
export function formatTerminationMessage(of: {
  metrics: Record<string, number>;
  metricsOmitted: number;
  metricsProblem?: string;
}): string {
  const entries = Object.entries(of.metrics);
  const make = (count: number): string => {
    const left = entries.length - count;
    const room = left === 0 ? [] : [`${left} more did not fit into the termination message`];
    const problem = [...(of.metricsProblem === undefined ? [] : [of.metricsProblem.slice(0, 256)]), ...room].join('; ');
    const message: Message = {
      metrics: Object.fromEntries(entries.slice(0, count)),
      omitted: of.metricsOmitted + left,
      ...(problem === '' ? {} : { problem }),
    };
    return `${PREFIX}${JSON.stringify(message)}\n`;
  };
  let [low, high] = [0, entries.length];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (Buffer.byteLength(make(middle)) <= LARGEST) low = middle;
    else high = middle - 1;
  }
  return make(low);
}

/** What the controller finds where the gateway could not be reached; undefined for any other text. */
export function parseTerminationMessage(
  message: string,
  of: { rank: number; podUid: string; collectedAt: string },
): CollectedResult | undefined {
  const start = message.lastIndexOf(PREFIX);
  const end = message.indexOf('\n', start);
  if (start === -1 || end === -1 || end - start > LARGEST) return undefined;
  const said = parse(message.slice(start + PREFIX.length, end));
  if (said === undefined) return undefined;
  return {
    ...of,
    metrics: said.metrics,
    metricsOmitted: said.omitted,
    ...(said.problem === undefined ? {} : { metricsProblem: said.problem }),
    artifacts: [],
    via: 'TerminationMessage',
  };
}

/** The pod's own code may have written it: nothing is believed but its shape. */
function parse(text: string): Message | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { metrics, omitted, problem } = value as Record<string, unknown>;
  if (typeof metrics !== 'object' || metrics === null || !Number.isSafeInteger(omitted) || (omitted as number) < 0)
    return undefined;
  const entries = Object.entries(metrics);
  if (!entries.every(([name, x]) => name !== '' && name.length <= 128 && typeof x === 'number' && Number.isFinite(x)))
    return undefined;
  return {
    metrics: metrics as Record<string, number>,
    omitted: omitted as number,
    ...(typeof problem === 'string' ? { problem: problem.slice(0, 512) } : {}),
  };
}
