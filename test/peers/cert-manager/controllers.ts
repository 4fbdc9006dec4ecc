import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { moduleFiles } from '../../../scripts/tools/go-tool.ts';
import type { Cluster } from '../../cluster/index.ts';
import { Authority } from '../../cluster/pki.ts';
import { start, stop } from '../../cluster/process.ts';
import { freePort } from '../../e2e/operator-process.ts';
import { goPrograms } from '../go-programs.ts';

/** cert-manager itself, its controller and its webhook, as processes of this host that the API server reaches. */

/** As in go.mod. */
const MODULE = 'github.com/cert-manager/cert-manager@v1.21.2';
const CRDS = ['certificaterequests', 'certificates', 'clusterissuers', 'issuers'];

export interface CertManager {
  /** Ends it and takes from the cluster what it brought, and with its kinds all objects of them. */
  remove(): Promise<void>;
}

export async function startCertManager(cluster: Cluster, folder: string): Promise<CertManager> {
  const program = join(await goPrograms('cert-manager', import.meta.dirname, ['.']), 'worldflux');
  const files = CRDS.map((kind) => `deploy/crds/cert-manager.io_${kind}.yaml`);
  const crds = (await moduleFiles(MODULE, files)).join('\n---\n');
  const names = await cluster.kubectl(['apply', '--server-side', '-f', '-', '-o', 'name'], { input: crds });
  await cluster.kubectl(['wait', '--for=condition=Established', '--timeout=30s', ...names.trim().split('\n')]);

  const port = await freePort();
  const { pem, files: serving } = await servingFiles(cluster, folder);
  const env = { PATH: process.env['PATH'], HOME: folder, NO_PROXY: '*', POD_NAMESPACE: 'cert-manager' };
  const run = (name: string, ...args: string[]) =>
    start([program, name, `--kubeconfig=${cluster.kubeconfig}`, ...args], {
      log: join(folder, `${name}.log`),
      detached: false,
      env,
    });
  const processes = [
    await run('controller'),
    await run(
      'webhook',
      `--secure-port=${port}`,
      `--healthz-port=${await freePort()}`,
      '--metrics-listen-address=0',
      ...serving,
    ),
  ];
  const webhooks = admission(`https://${cluster.hostAddress}:${port}`, pem);
  await cluster.kubectl(['apply', '-f', '-'], { input: webhooks });
  return {
    async remove() {
      await cluster.kubectl(['delete', '-f', '-', '--ignore-not-found'], { input: webhooks });
      await cluster.kubectl(['delete', '-f', '-', '--ignore-not-found', '--timeout=60s'], {
        input: crds,
        timeoutMs: 70_000,
      });
      await Promise.all(processes.map((process) => stop(process)));
    },
  };
}

/** What the webhook serves with, and whom the API server then trusts; in a cluster its own authority and cainjector see to that. */
async function servingFiles(cluster: Cluster, folder: string): Promise<{ pem: string; files: string[] }> {
  const authority = await Authority.create('cert-manager-webhook');
  const { cert, key } = await authority.issue({ commonName: 'cert-manager-webhook', addresses: [cluster.hostAddress] });
  const paths = { cert: join(folder, 'webhook.crt'), key: join(folder, 'webhook.key') };
  await writeFile(paths.cert, cert);
  await writeFile(paths.key, key, { mode: 0o600 });
  return { pem: authority.pem.cert, files: [`--tls-cert-file=${paths.cert}`, `--tls-private-key-file=${paths.key}`] };
}

/** As its own chart registers them. */
function admission(url: string, ca: string): string {
  const common = {
    name: 'webhook.cert-manager.io',
    admissionReviewVersions: ['v1'],
    matchPolicy: 'Equivalent',
    failurePolicy: 'Fail',
    sideEffects: 'None',
    timeoutSeconds: 30,
  };
  const clientConfig = (path: string) => ({ url: `${url}/${path}`, caBundle: Buffer.from(ca).toString('base64') });
  const rule = (operations: string[], resources: string[]) => ({
    apiGroups: ['cert-manager.io'],
    apiVersions: ['v1'],
    operations,
    resources,
  });
  const configuration = (kind: string, webhook: object) => ({
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind,
    metadata: { name: 'cert-manager-webhook' },
    webhooks: [{ ...common, ...webhook }],
  });
  return [
    configuration('MutatingWebhookConfiguration', {
      clientConfig: clientConfig('mutate'),
      rules: [rule(['CREATE'], ['certificaterequests'])],
    }),
    configuration('ValidatingWebhookConfiguration', {
      clientConfig: clientConfig('validate'),
      rules: [rule(['CREATE', 'UPDATE'], ['*/*'])],
    }),
  ]
    .map((object) => stringify(object))
    .join('---\n');
}
