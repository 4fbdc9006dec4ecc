import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { SMOKE_IMAGES } from '../../images/index.ts';
import { API_SERVICE } from '../../src/results/api/registration.ts';
import { buildImage } from '../../test/cluster/images.ts';
import { OPERATOR_IMAGE, operatorImage } from '../../test/cluster/operator-image.ts';
import { run } from '../../test/cluster/process.ts';
import { CHARTS, NAMESPACE } from '../chart/install.ts';
import { RUN_NAMESPACE } from './runs.ts';
import type { Target } from './target.ts';

/** The samples that the demo applies, in this order. */
export const SAMPLES = ['cpu', 'gpu', 'dreamer-style-light'] as const;
const ROOT = join(import.meta.dirname, '..', '..');
const SAMPLES_DIR = join(ROOT, 'manifests', 'samples');
/** Marks what the demo made in a cluster of the user's, so that `--down` removes nothing else. */
const OURS = 'worldflux.ai/demo';

/** Builds what is not in the cache and returns the references that pods name: `operator`, and one for each smoke image. */
export async function provideImages(target: Target, signal: AbortSignal): Promise<Record<string, string>> {
  const operator = await operatorImage(signal);
  const references: Record<string, string> = {
    operator: await target.load(OPERATOR_IMAGE, operator),
    revision: revisionOf(operator),
  };
  for (const image of SMOKE_IMAGES.filter(({ name }) => (SAMPLES as readonly string[]).includes(name))) {
    const archive = await buildImage({
      context: join(ROOT, 'images'),
      dockerfile: image.dockerfile,
      tag: image.tag,
      base: 'python',
      signal,
    });
    references[image.tag] = await target.load(image.tag, archive);
  }
  return references;
}

/** The folder of the archive in the cache; its name ends in the digest of all that the image was made from. */
const revisionOf = (archive: string): string => archive.split('/').at(-2)!.slice(-16);

export async function installOperator(target: Target, helm: string, images: Record<string, string>): Promise<void> {
  await ensureNamespace(target, NAMESPACE);
  const [repository, tag] = splitTag(images['operator']!);
  const values = {
    image: { repository, tag },
    // The tag stays when the code changes: this makes the old pod go.
    podAnnotations: { 'worldflux.ai/demo-image': images['revision'] },
    store: { files: { size: '5Gi', keep: false } },
    crds: { keep: false },
  };
  await upgrade(target, helm, 'worldflux-operator', ['--values', '-', '--wait', '--timeout', '3m'], stringify(values));
  await target.kubectl(['wait', '--for=condition=Available', `apiservice/${API_SERVICE}`, '--timeout=60s'], {
    timeoutMs: 70_000,
  });
}

export async function installProfiles(target: Target, helm: string): Promise<void> {
  await upgrade(target, helm, 'worldflux-profiles', ['--values', join(import.meta.dirname, 'profiles.yaml')]);
  await target.kubectl(['wait', '--for=condition=Ready', 'runtimeprofile/cpu', 'runtimeprofile/gpu', '--timeout=60s'], {
    timeoutMs: 70_000,
  });
}

/** Applies the samples, after what an earlier demo left of them. Returns the names of the runs. */
export async function applyRuns(target: Target, images: Record<string, string>, withGpu: boolean): Promise<string[]> {
  await ensureNamespace(target, RUN_NAMESPACE);
  await target.kubectl(['-n', RUN_NAMESPACE, 'delete', 'worldruns', '--all', '--timeout=60s'], { timeoutMs: 70_000 });
  const names = SAMPLES.filter((name) => name !== 'gpu' || withGpu);
  for (const name of names) {
    const sample = parse(await readFile(join(SAMPLES_DIR, `${name}.yaml`), 'utf8')) as { spec: { image: string } };
    const image = images[sample.spec.image] ?? sample.spec.image;
    await target.kubectl(['-n', RUN_NAMESPACE, 'apply', '-f', '-'], {
      input: stringify({ ...sample, spec: { ...sample.spec, image } }),
    });
  }
  return names;
}

/** Whether a node offers a GPU, simulated or not. */
export async function hasGpu(target: Target): Promise<boolean> {
  const found = await target.kubectl([
    'get',
    'nodes',
    '-o',
    'jsonpath={.items[*].status.allocatable.nvidia\\.com/gpu}',
  ]);
  return found.split(' ').some((count) => Number(count) > 0);
}

/** Refuses a cluster in which somebody else's operator works: the demo would take it over. */
export async function refuseForeign(target: Target): Promise<void> {
  const there = await Promise.all(
    [
      ['crd', 'worldruns.worldflux.ai'],
      ['namespace', NAMESPACE],
    ].map((what) => target.kubectl(['get', ...what, '--ignore-not-found', '-o', 'name'])),
  );
  if (there.join('').trim() === '' || (await isOurs(target, NAMESPACE))) return;
  throw new Error('this cluster has the operator already, and not from a demo: apply manifests/samples there yourself');
}

/** Takes everything of the demo out of a cluster of the user's. */
export async function removeFrom(target: Target, helm: string): Promise<void> {
  if (!(await isOurs(target, NAMESPACE))) throw new Error('nothing in this cluster is marked as the demo’s');
  await target.kubectl(['-n', RUN_NAMESPACE, 'delete', 'worldruns', '--all', '--ignore-not-found', '--timeout=120s'], {
    timeoutMs: 130_000,
  });
  for (const release of ['worldflux-profiles', 'worldflux-operator']) {
    await run(
      [helm, 'uninstall', release, '--namespace', NAMESPACE, '--ignore-not-found', '--wait', ...target.helmArgs],
      { timeoutMs: 180_000 },
    );
  }
  for (const namespace of [RUN_NAMESPACE, NAMESPACE]) {
    if (await isOurs(target, namespace))
      await target.kubectl(['delete', 'namespace', namespace, '--timeout=120s'], { timeoutMs: 130_000 });
  }
}

async function isOurs(target: Target, namespace: string): Promise<boolean> {
  const found = await target.kubectl(['get', 'namespace', '-l', `${OURS}=true`, '-o', 'name']);
  return found.split('\n').includes(`namespace/${namespace}`);
}

/** Makes a namespace of the demo's where it is missing. */
export async function ensureNamespace(target: Target, name: string): Promise<void> {
  const found = await target.kubectl(['get', 'namespace', name, '--ignore-not-found', '-o', 'name']);
  if (found.trim() !== '') return;
  const labels = { [OURS]: 'true', 'pod-security.kubernetes.io/enforce': 'restricted' };
  await target.kubectl(['create', '-f', '-'], {
    input: stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }),
  });
}

async function upgrade(
  target: Target,
  helm: string,
  chart: string,
  more: readonly string[],
  input?: string,
): Promise<void> {
  const argv = [
    helm,
    'upgrade',
    '--install',
    chart,
    join(CHARTS, chart),
    '--namespace',
    NAMESPACE,
    ...target.helmArgs,
    ...more,
  ];
  await run(argv, { timeoutMs: 240_000, ...(input !== undefined && { input }) });
}

/** Repository and tag of a reference; a colon before the last slash belongs to the registry's port. */
function splitTag(reference: string): [string, string] {
  const at = reference.lastIndexOf(':');
  return [reference.slice(0, at), reference.slice(at + 1)];
}
