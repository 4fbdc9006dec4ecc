import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, openSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster } from '../cluster/index.ts';

/**
 * The real operator as a process of this host, against the test's cluster: it can be killed, paused and woken at any
 * moment. Pods reach its gateway at the host's address.
 */
export interface OperatorProcess {
  readonly pid: number;
  readonly storeDir: string;
  readonly metricsUrl: string;
  /** Everything it logged so far, one JSON object a line. */
  log(): string;
  /** SIGTERM, and wait for the end. */
  stop(): Promise<number | null>;
  /** SIGKILL: no farewell. */
  kill(): Promise<void>;
  /** SIGSTOP and SIGCONT: alive, and not there. */
  pause(): void;
  resume(): void;
  /** Resolves with the exit code when it ends by itself. */
  readonly ended: Promise<number | null>;
}

export interface OperatorProcessOptions {
  cluster: Cluster;
  /** Kept between starts: the store, and the gateway's port, which running pods know. */
  dir: string;
  gatewayPort: number;
  namespace: string;
  args?: readonly string[];
  /** Whose rights it has; by default an administrator's. */
  kubeconfig?: string;
  /** Where pods reach the gateway; by default its port at the host's address. */
  gatewayUrl?: string;
  env?: NodeJS.ProcessEnv;
  image?: string;
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0);
  await once(server, 'listening');
  const address = server.address();
  server.close();
  if (typeof address !== 'object' || address === null) throw new Error('no port');
  return address.port;
}

let starts = 0;

export async function startOperator(options: OperatorProcessOptions): Promise<OperatorProcess> {
  const { cluster, dir, gatewayPort, namespace } = options;
  const storeDir = join(dir, 'store');
  mkdirSync(storeDir, { recursive: true });
  const metricsPort = await freePort();
  starts += 1;
  const logFile = join(dir, `operator-${starts}.log`);
  const out = openSync(logFile, 'a');
  const settings = {
    kubeconfig: options.kubeconfig ?? cluster.kubeconfig,
    namespace,
    'store-dir': storeDir,
    'gateway-port': String(gatewayPort),
    'gateway-url': options.gatewayUrl ?? `https://${cluster.hostAddress}:${gatewayPort}`,
    'metrics-port': String(metricsPort),
    ...(options.image !== undefined && { image: options.image }),
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
  const root = join(import.meta.dirname, '../..');
  const child: ChildProcess = spawn(
    process.execPath,
    [join(root, 'src/main.ts'), 'operator', ...flags, ...(options.args ?? [])],
    { stdio: ['ignore', out, out], env: { ...process.env, ...options.env } },
  );
  const ended = once(child, 'exit').then(([code]) => code as number | null);
  const log = () => readFileSync(logFile, 'utf8');
  const metricsUrl = `http://127.0.0.1:${metricsPort}`;
  const until = Date.now() + 60_000;
  for (;;) {
    if (child.exitCode !== null) throw new Error(`the operator ended with ${child.exitCode}:\n${log()}`);
    if (log().includes('"msg":"ready"')) break;
    if (Date.now() > until) {
      // Left alive it would lead later on, unseen by the test.
      child.kill('SIGKILL');
      throw new Error(`the operator was not ready in time:\n${log()}`);
    }
    await sleep(50);
  }
  return {
    pid: child.pid!,
    storeDir,
    metricsUrl,
    log,
    ended,
    async stop() {
      child.kill('SIGTERM');
      return ended;
    },
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
    pause: () => void child.kill('SIGSTOP'),
    resume: () => void child.kill('SIGCONT'),
  };
}
