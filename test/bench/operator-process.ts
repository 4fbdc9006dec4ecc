import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, openSync, readFileSync } from 'node:fs';
import { copyFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Cluster } from '../cluster/index.ts';
import { run } from '../cluster/process.ts';
import { SYSTEM } from './installation.ts';

export const AGENT = 'worldflux-operator/';

const ROOT = join(import.meta.dirname, '../..');

/** How the operator's process is started. */
export interface Entry {
  file: string;
  nodeArgs: readonly string[];
}

/** With the arguments that the image gives it: what is measured is what users get. */
export async function imageNodeArgs(): Promise<string[]> {
  const dockerfile = await readFile(join(ROOT, 'Dockerfile'), 'utf8');
  const entrypoint = /^ENTRYPOINT (\[.*\])$/m.exec(dockerfile)?.[1];
  if (entrypoint === undefined) throw new Error('the Dockerfile has no ENTRYPOINT that is a list');
  return (JSON.parse(entrypoint) as string[]).slice(1, -1);
}

/** The bundle that the image holds, made anew from these sources; or the sources themselves. */
export async function operatorFile(from: 'bundle' | 'sources', directory: string): Promise<string> {
  if (from === 'sources') return join(ROOT, 'src/main.ts');
  await run([process.execPath, join(ROOT, 'scripts/bundle.ts')]);
  // A copy: a build beside this one must not change what is measured.
  const file = join(directory, 'operator.mjs');
  await copyFile(join(ROOT, 'dist/main.js'), file);
  return file;
}

export interface Operator {
  pid: number;
  /** From the start of the process to complete caches. */
  readyMs: number;
  /** Resets the lag's window and answers what it was since the last call. */
  eventLoopLagMs(): Promise<{ p50: number; p99: number; max: number }>;
  stop(): Promise<void>;
}

let starts = 0;

/** Starts the operator as a process of its own, with its own rights, and resolves when it leads. */
export async function startOperator(cluster: Cluster, kubeconfig: string, entry: Entry): Promise<Operator> {
  starts += 1;
  const store = join(cluster.dir, 'store');
  mkdirSync(store, { recursive: true });
  const logFile = join(cluster.dir, 'log', `operator-${starts}.log`);
  const out = openSync(logFile, 'a');
  const settings = {
    kubeconfig,
    namespace: SYSTEM,
    'store-dir': store,
    'gateway-port': '0',
    'gateway-url': 'https://127.0.0.1:1',
    'metrics-port': '0',
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
  const startedAt = performance.now();
  // With the death signal, so that it never outlives a bench that was killed.
  const command = [process.execPath, ...entry.nodeArgs, entry.file, 'operator', ...flags];
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...command], {
    stdio: ['ignore', out, out],
    cwd: cluster.dir,
  });
  const stopped = once(child, 'exit');
  const line = async (message: string): Promise<Record<string, unknown>> => {
    for (;;) {
      const log = readFileSync(logFile, 'utf8');
      const found = log.split('\n').find((text) => text.includes(`"msg":"${message}"`));
      if (found !== undefined) return JSON.parse(found) as Record<string, unknown>;
      if (child.exitCode !== null) throw new Error(`the operator ended:\n${log.slice(-3000)}`);
      if (performance.now() - startedAt > 120_000)
        throw new Error(`the operator never said "${message}":\n${log.slice(-3000)}`);
      await pause(10);
    }
  };
  const ready = await line('ready');
  const readyMs = performance.now() - startedAt;
  await line('leading');
  const metricsUrl = `http://127.0.0.1:${String(ready['metrics'])}/metrics`;
  return {
    pid: child.pid!,
    readyMs,
    async eventLoopLagMs() {
      const text = await (await fetch(metricsUrl)).text();
      const of = (name: string) =>
        Number(new RegExp(`^nodejs_eventloop_lag_${name}_seconds (\\S+)`, 'm').exec(text)?.[1]) * 1000;
      return { p50: of('p50'), p99: of('p99'), max: of('max') };
    },
    async stop() {
      child.kill('SIGTERM');
      await stopped;
    },
  };
}
