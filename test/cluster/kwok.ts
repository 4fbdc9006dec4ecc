import { copyFile, mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseAllDocuments, stringify } from 'yaml';
import { cached } from './build.ts';
import type { Cluster } from './cluster.ts';
import { run, stop } from './process.ts';
import { readState, startComponent, writeState } from './state.ts';

const VERSION = 'v0.8.0';
const STAGES = ['node/fast', 'node/heartbeat-with-lease', 'pod/fast'];

export interface KwokOptions {
  nodes: number;
  /** What each node offers; 64 CPU, 512 GiB, 8 `nvidia.com/gpu` and 110 Pods if not said. */
  capacity?: Record<string, string>;
  /** How long the containers of a Job's Pod run before they end with exit code 0. At once by default. */
  runMilliseconds?: number;
}

export interface Kwok {
  pid: number;
  stop(): Promise<void>;
}

/** Adds simulated nodes to an `api` cluster that has a scheduler; their Pods start at once and those of Jobs succeed. */
export async function startKwok(cluster: Cluster, o: KwokOptions): Promise<Kwok> {
  const state = readState(cluster.name);
  if (state === undefined) throw new Error(`cluster ${cluster.name} does not run on this host`);
  const installed = await kwokInstalled();
  const config = join(cluster.dir, 'kwok.yaml');
  await writeFile(config, await kwokConfig(installed, o.runMilliseconds ?? 0));
  const argv = [
    join(installed, 'kwok'),
    `--kubeconfig=${cluster.kubeconfig}`,
    `--config=${config}`,
    '--manage-all-nodes=true',
  ];
  const env = { PATH: process.env['PATH'], HOME: cluster.dir, NO_PROXY: '*' };
  const started = await startComponent(state, 'kwok', [...argv, '--node-lease-duration-seconds=40'], { env });
  await cluster.kubectl(['create', '-f', '-'], { input: stringify(nodeList(o)), timeoutMs: 300_000 });
  await cluster.kubectl(['wait', '--for=condition=Ready', 'nodes', '-l', 'type=kwok', '--timeout=120s'], {
    timeoutMs: 130_000,
  });
  return {
    pid: started.pid,
    stop: async () => {
      await stop(started);
      delete state.processes['kwok'];
      writeState(state);
    },
  };
}

/** Directory with the binary and upstream's stage files, built by the Go toolchain on first use. */
export function kwokInstalled(signal?: AbortSignal): Promise<string> {
  return cached(`kwok-${VERSION}`, async (into) => {
    const module = `sigs.k8s.io/kwok@${VERSION}`;
    const downloaded = await run(['go', 'mod', 'download', '-json', module], { timeoutMs: 300_000, signal });
    const { Dir } = JSON.parse(downloaded) as { Dir: string };
    await mkdir(join(into, 'stages'));
    for (const stage of STAGES) {
      const from = join(Dir, 'kustomize/stage', stage);
      for (const file of await readdir(from)) {
        if (file.endsWith('.yaml') && file !== 'kustomization.yaml')
          await copyFile(join(from, file), join(into, 'stages', file));
      }
    }
    const env = { ...process.env, GOBIN: into, CGO_ENABLED: '0' };
    await run(['go', 'install', '-ldflags', '-s -w', `sigs.k8s.io/kwok/cmd/kwok@${VERSION}`], {
      env,
      timeoutMs: 1_800_000,
      signal,
    });
  });
}

async function kwokConfig(installed: string, runMilliseconds: number): Promise<string> {
  const files = (await readdir(join(installed, 'stages'))).toSorted();
  const texts = await Promise.all(files.map((file) => readFile(join(installed, 'stages', file), 'utf8')));
  const stages = texts.flatMap((text) => parseAllDocuments(text).map((document) => document.toJS() as Stage));
  for (const stage of stages) {
    if (stage.metadata.name === 'pod-complete' && runMilliseconds > 0)
      stage.spec['delay'] = { durationMilliseconds: runMilliseconds };
  }
  const options = { podPlayStageParallelism: 16, nodePlayStageParallelism: 8, nodeLeaseParallelism: 8 };
  const kwok = { apiVersion: 'config.kwok.x-k8s.io/v1alpha1', kind: 'KwokConfiguration', options };
  return [kwok, ...stages].map((document) => stringify(document)).join('---\n');
}

interface Stage {
  metadata: { name: string };
  spec: Record<string, unknown>;
}

function nodeList(o: KwokOptions): object {
  const capacity = o.capacity ?? { cpu: '64', memory: '512Gi', pods: '110', 'nvidia.com/gpu': '8' };
  const items = Array.from({ length: o.nodes }, (_, index) => {
    const name = `kwok-${String(index).padStart(5, '0')}`;
    return {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name, labels: { type: 'kwok', 'kubernetes.io/hostname': name } },
      status: { allocatable: capacity, capacity, phase: 'Running' },
    };
  });
  return { apiVersion: 'v1', kind: 'List', items };
}
