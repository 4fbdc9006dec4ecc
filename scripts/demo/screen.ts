import { setTimeout as sleep } from 'node:timers/promises';

/** What the demo says. Colours and a line that renews itself on a terminal, plain lines everywhere else. */
const isTerminal = process.stdout.isTTY && process.env['NO_COLOR'] === undefined;
const paint = (code: string, text: string): string => (isTerminal ? `\u001B[${code}m${text}\u001B[0m` : text);

export const bold = (text: string): string => paint('1', text);
export const dim = (text: string): string => paint('2', text);
export const green = (text: string): string => paint('32', text);
export const red = (text: string): string => paint('31', text);

export function say(text = ''): void {
  console.log(text);
}

export function heading(text: string): void {
  console.log(`\n${bold(text)}`);
}

export function indented(text: string, by = 2): string {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => (line === '' ? '' : ' '.repeat(by) + line))
    .join('\n');
}

export const seconds = (since: number): string => `${((performance.now() - since) / 1000).toFixed(1)} s`;

/** Does the work and shows that it goes on: the time, renewed every second on a terminal, a line every half minute elsewhere. */
export async function step<T>(title: string, work: () => Promise<T>): Promise<T> {
  const since = performance.now();
  const done = new AbortController();
  if (!isTerminal) say(`${title} …`);
  const ticking = tick(title, since, done.signal);
  try {
    const answer = await work();
    await ended();
    say(`${green('✓')} ${title} ${dim(`(${seconds(since)})`)}`);
    return answer;
  } catch (error) {
    await ended();
    say(`${red('✗')} ${title} ${dim(`(${seconds(since)})`)}`);
    throw error;
  }

  async function ended(): Promise<void> {
    done.abort();
    await ticking;
    if (isTerminal) process.stdout.write('\r\u001B[K');
  }
}

async function tick(title: string, since: number, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    if (isTerminal) process.stdout.write(`\r\u001B[K… ${title} ${dim(seconds(since))}`);
    await sleep(isTerminal ? 1000 : 30_000, undefined, { signal }).catch(() => {});
    if (!isTerminal && !signal.aborted) say(`  still at it, ${seconds(since)}`);
  }
}
