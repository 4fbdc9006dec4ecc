import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseAllDocuments, stringify } from 'yaml';
import type { Cluster } from '../cluster/index.ts';
import { until } from '../cluster/process.ts';
import { PROFILE } from './objects.ts';

/** What users install with `manifests/install.yaml`, but for the Deployment: here the operator is a process of this host. */

export const SYSTEM = 'worldflux-system';
const MANIFEST = join(import.meta.dirname, '../../manifests/install.yaml');
const OPERATOR = { namespace: SYSTEM, name: 'worldflux-operator' };
const JOB_CONTROLLER = { namespace: 'kube-system', name: 'job-controller' };

const API = /^CustomResourceDefinition$/;
const RIGHTS = /^(Cluster)?Role(Binding)?$/;
const POLICIES = /^ValidatingAdmissionPolicy(Binding)?$/;

interface KubeObject {
  kind: string;
  metadata: { name: string };
}

/** Kubeconfigs of those whom the policies let do what they keep from everybody else. */
export interface Users {
  operator: string;
  jobController: string;
}

export async function install(cluster: Cluster, { policies }: { policies: boolean }): Promise<Users> {
  const documents = parseAllDocuments(await readFile(MANIFEST, 'utf8'));
  const objects = documents.map((document) => document.toJS() as KubeObject);
  const create = (kinds: RegExp) => {
    const chosen = objects.filter(({ kind }) => kinds.test(kind));
    return cluster.kubectl(['create', '-f', '-'], { input: chosen.map((object) => stringify(object)).join('---\n') });
  };
  await cluster.kubectl(['create', 'namespace', SYSTEM]);
  await create(API);
  await create(RIGHTS);
  // `kubectl wait` fails on a CRD so young that it has no conditions yet.
  const taken = () => cluster.kubectl(['create', '-f', '-'], { input: stringify(PROFILE) }).catch(() => undefined);
  await until('the API server to serve RuntimeProfiles', taken, { timeoutMs: 60_000 });
  if (policies) {
    await create(POLICIES);
    await until('the policies to hold', () => refusesStatus(cluster), { timeoutMs: 60_000 });
  }
  return {
    operator: await cluster.userKubeconfig(serviceAccount(OPERATOR)),
    jobController: await cluster.userKubeconfig(serviceAccount(JOB_CONTROLLER)),
  };
}

/** With its groups: by them the API server's priority and fairness knows which queue its requests belong to. */
const serviceAccount = ({ namespace, name }: { namespace: string; name: string }) => ({
  name: `system:serviceaccount:${namespace}:${name}`,
  groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`],
});

/** Of somebody who is not the operator, whatever rights he has. */
async function refusesStatus(cluster: Cluster): Promise<true | undefined> {
  const status = ['--subresource=status', '--type=merge', '--patch={"status":{"observedGeneration":1}}'];
  const patch = ['patch', 'runtimeprofile', PROFILE.metadata.name, '--dry-run=server', ...status];
  return cluster.kubectl(patch).then(
    () => undefined,
    (error: unknown) => String(error).includes('may not write a status') || undefined,
  );
}
