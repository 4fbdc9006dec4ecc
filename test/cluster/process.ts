import { execFile, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/** A process that we started. The start time (clock ticks since boot) tells it from a later process that got the same pid. */
export interface Started {
  pid: number;
  startTicks: string;
}

export interface RunOptions {
  input?: string;
  timeoutMs?: number;
  signal?: AbortSignal | undefined;
  cwd?: string;
  env?: NodeJS.ProcessEnv;
}

/** Runs a command to its end and returns its standard output; rejects with the end of what it complained about in the message. */
export function run(argv: readonly string[], options: RunOptions = {}): Promise<string> {
  const [file, ...args] = argv;
  if (file === undefined) throw new Error('no command');
  return new Promise((resolve, reject) => {
    const child = execFile(
      file,
      args,
      {
        timeout: options.timeoutMs ?? 60_000,
        maxBuffer: 256 * 1024 * 1024,
        killSignal: 'SIGKILL',
        ...(options.signal && { signal: options.signal }),
        ...(options.cwd && { cwd: options.cwd }),
        ...(options.env && { env: options.env }),
      },
      (error, stdout, stderr) => {
        if (error === null) return resolve(stdout);
        const why = error.killed
          ? 'took too long'
          : stderr.trim().slice(-2000) || stdout.trim().slice(-2000) || error.message;
        reject(new Error(`${argv.slice(0, 6).join(' ')}: ${why}`, { cause: error }));
      },
    );
    child.stdin?.on('error', () => {}); // the command may end without reading; its exit code says what matters
    child.stdin?.end(options.input ?? '');
  });
}

export interface SpawnOptions {
  log: string;
  /** Stays when this process ends. Otherwise the kernel kills it together with us, however we die. */
  detached: boolean;
  env?: NodeJS.ProcessEnv;
}

/** Starts a long-lived process in its own session, with both outputs appended to `log`. */
export async function start(argv: readonly string[], options: SpawnOptions): Promise<Started> {
  const [file, ...args] = options.detached ? argv : ['setpriv', '--pdeathsig', 'KILL', '--', ...argv];
  if (file === undefined) throw new Error('no command');
  const log = openSync(options.log, 'a', 0o600);
  try {
    const child = spawn(file, args, {
      detached: true,
      stdio: ['ignore', log, log],
      env: options.env ?? { PATH: process.env['PATH'] },
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
    child.unref();
    return identify(child.pid ?? 0);
  } finally {
    closeSync(log);
  }
}

/** Names a running process by pid and start time. */
export function identify(pid: number): Started {
  return { pid, startTicks: startTicks(pid) ?? '' };
}

export function isAlive(process: Started): boolean {
  return process.startTicks !== '' && startTicks(process.pid) === process.startTicks;
}

/** Kills a process and waits until it is gone. A process that merely has the pid is left alone. */
export async function stop(process_: Started, signal: NodeJS.Signals = 'SIGKILL', timeoutMs = 20_000): Promise<void> {
  if (!isAlive(process_)) return;
  process.kill(process_.pid, signal);
  await until(`process ${process_.pid} to end`, () => (isAlive(process_) ? undefined : true), {
    timeoutMs,
    intervalMs: 10,
  });
}

/** The only child of a process, as `nsenter` and `unshare` have one. Waits for it to appear. */
export async function childOf(parent: Started, timeoutMs = 5_000): Promise<Started> {
  return until(
    `a child of process ${parent.pid}`,
    async () => {
      if (!isAlive(parent)) throw new Error(`process ${parent.pid} ended at once`);
      const children = await readFile(`/proc/${parent.pid}/task/${parent.pid}/children`, 'utf8').catch(() => '');
      const pid = Number(children.trim().split(' ')[0]);
      return pid > 0 ? identify(pid) : undefined;
    },
    { timeoutMs, intervalMs: 5 },
  );
}

/** Asks until there is an answer. An error thrown by `probe` is final; a thing that is not there yet is `undefined`. */
export async function until<T>(
  what: string,
  probe: () => T | undefined | Promise<T | undefined>,
  options: { timeoutMs: number; intervalMs?: number; signal?: AbortSignal | undefined },
): Promise<T> {
  const deadline = Date.now() + options.timeoutMs;
  for (;;) {
    options.signal?.throwIfAborted();
    const answer = await probe();
    if (answer !== undefined) return answer;
    if (Date.now() > deadline) throw new Error(`waited ${options.timeoutMs / 1000} s for ${what}`);
    await sleep(options.intervalMs ?? 100, undefined, { ...(options.signal && { signal: options.signal }) });
  }
}

function startTicks(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19]; // a zombie has ended; only its parent has not looked yet
  } catch {
    return undefined;
  }
}
