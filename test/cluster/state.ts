import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { mkdir, readdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { clusterDir, clusterNames } from './paths.ts';
import { isAlive, start, stop, until, type SpawnOptions, type Started } from './process.ts';

export type ClusterKind = 'api' | 'node';

/** What a cluster is, as far as another process must know it to use it or to take it down. */
export interface ClusterState {
  name: string;
  kind: ClusterKind;
  detached: boolean;
  /** The process that started it; unless detached, the cluster ends with it. */
  owner?: Started;
  audit: boolean;
  binary: string;
  apiServer: string;
  /** Where Pods reach processes of this host, and this host reaches Pods and Services; only a cluster with a node has it. */
  network?: NodeNetwork;
  /** Process 1 of the node's namespaces. */
  init?: Started;
  processes: Record<string, Started>;
  /** Extended resources the node was given; the kubelet forgets them when it starts anew. */
  capacity: Record<string, number>;
}

export interface NodeNetwork {
  /** Name of the host's end of the cable to the node. */
  device: string;
  hostAddress: string;
  nodeAddress: string;
  /** All that follows lies inside `cidr`. */
  cidr: string;
  podCidr: string;
  podGateway: string;
  serviceCidr: string;
}

const FILE = 'state.json';

export function readState(name: string): ClusterState | undefined {
  const file = join(clusterDir(name), FILE);
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as ClusterState) : undefined;
}

/** Written at once and whole, so that whoever comes after a killed run finds every process it had started. */
export function writeState(state: ClusterState): void {
  const file = join(clusterDir(state.name), FILE);
  writeFileSync(`${file}.new`, JSON.stringify(state, undefined, 2), { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

/** Starts a component, with its log at `<dir>/log/<name>.log`, and notes it in the state. */
export async function startComponent(
  state: ClusterState,
  name: string,
  argv: readonly string[],
  o: { env?: NodeJS.ProcessEnv; find?: (started: Started) => Promise<Started> } = {},
): Promise<Started> {
  const options: SpawnOptions = { log: logFile(state, name), detached: state.detached, ...(o.env && { env: o.env }) };
  const spawned = await start(argv, options);
  const process = o.find ? await o.find(spawned) : spawned;
  state.processes[name] = process;
  writeState(state);
  return process;
}

export function logFile(state: ClusterState, name: string): string {
  return join(clusterDir(state.name), 'log', `${name}.log`);
}

/** The last lines a component wrote, for an error message. */
export function logTail(state: ClusterState, name: string, bytes = 1500): string {
  try {
    return readFileSync(logFile(state, name), 'utf8').slice(-bytes);
  } catch {
    return '';
  }
}

/** Throws, with the end of its log, when a component has ended by itself. */
export function assertAlive(state: ClusterState, name: string): void {
  const process = state.processes[name];
  if (process !== undefined && !isAlive(process)) throw new Error(`${name} ended:\n${logTail(state, name)}`);
}

/**
 * Ends every process of a cluster and removes what it left: the directory, its control groups, its network device. Works from the state
 * file alone, so it also clears up after a run that was killed.
 */
export async function destroy(name: string): Promise<void> {
  const state = readState(name);
  if (state !== undefined) {
    // With process 1 the kernel kills everything in the node's namespaces, and with the namespaces go mounts, rules and devices.
    if (state.init !== undefined) await stop(state.init);
    await Promise.all(Object.values(state.processes).map((process) => stop(process)));
  }
  await removeControlGroups(controlGroup(name));
  await rm(clusterDir(name), { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
}

/** Removes what clusters left whose owner was killed: their processes went with it, their files did not. */
export async function sweep(): Promise<void> {
  for (const name of await clusterNames()) {
    const state = readState(name);
    if (state?.owner !== undefined && !state.detached && !isAlive(state.owner)) await destroy(name);
  }
}

/** Path, below each hierarchy's root, of the control group that holds all Pods of a cluster. */
export function controlGroup(name: string): string {
  return `worldflux-${name}`;
}

/** The roots of the hierarchies: one for each controller on cgroup v1, one in all on v2. */
export async function controlGroupRoots(): Promise<string[]> {
  const root = '/sys/fs/cgroup';
  if (existsSync(join(root, 'cgroup.controllers'))) return [root];
  const entries = await readdir(root, { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map((entry) => join(root, entry.name));
}

async function removeControlGroups(name: string): Promise<void> {
  if (!existsSync('/sys/fs/cgroup')) return;
  for (const root of await controlGroupRoots()) {
    await until(
      `control group ${name} in ${root} to empty`,
      async () => ((await removeTree(join(root, name))) ? true : undefined),
      {
        timeoutMs: 10_000,
        intervalMs: 20,
      },
    );
  }
}

/** A control group directory is removed with rmdir alone, deepest first; false while a process in it has not been reaped. */
async function removeTree(path: string): Promise<boolean> {
  if (!existsSync(path)) return true;
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (entry.isDirectory() && !(await removeTree(join(path, entry.name)))) return false;
  }
  return rmdir(path).then(
    () => true,
    () => false,
  );
}

export async function makeDirectories(name: string): Promise<void> {
  for (const part of ['log', 'pki']) await mkdir(join(clusterDir(name), part), { recursive: true, mode: 0o700 });
}
