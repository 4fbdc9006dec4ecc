import { join } from 'node:path';
import { parseAllDocuments, stringify } from 'yaml';
import { CHARTS } from '../../../scripts/chart/install.ts';
import { findHelm } from '../../../scripts/chart/helm.ts';
import { KUBERNETES_VERSION } from '../../cluster/build.ts';
import { run } from '../../cluster/process.ts';

export const OPERATOR = join(CHARTS, 'worldflux-operator');
export const PROFILES = join(CHARTS, 'worldflux-profiles');

export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; labels?: Record<string, string>; annotations?: Record<string, string> };
  spec?: Record<string, unknown>;
}

/** Runs helm with these values on its standard input; rejects with what helm says. */
export async function helm(
  args: readonly string[],
  options: { values?: object; kubeconfig?: string } = {},
): Promise<string> {
  const binary = await findHelm({ install: true });
  const argv = [binary, ...args, ...(options.values === undefined ? [] : ['--values', '-'])];
  const env = { ...process.env, ...(options.kubeconfig !== undefined && { KUBECONFIG: options.kubeconfig }) };
  return run(argv, {
    env,
    timeoutMs: 120_000,
    ...(options.values !== undefined && { input: stringify(options.values) }),
  });
}

export async function render(chart: string, values: object, namespace = 'worldflux-system'): Promise<KubeObject[]> {
  const text = await helm(
    ['template', 'release', chart, '--namespace', namespace, '--kube-version', KUBERNETES_VERSION],
    { values },
  );
  return parseAllDocuments(text)
    .map((document) => document.toJS() as KubeObject | null)
    .filter((object) => object !== null);
}

export function only(objects: readonly KubeObject[], kind: string): KubeObject {
  const found = objects.filter((object) => object.kind === kind);
  if (found.length !== 1) throw new Error(`there are ${found.length} objects of kind ${kind}`);
  return found[0]!;
}
