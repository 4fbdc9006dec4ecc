import type { Cluster } from '../../cluster/index.ts';
import { moduleFiles } from '../../../scripts/tools/go-tool.ts';
import { until } from '../../cluster/process.ts';

/** The kinds of other projects, from their own releases, so that the API server judges what we write for them. */

const SOURCES: Record<string, readonly string[]> = {
  'github.com/prometheus-operator/prometheus-operator@v0.85.0': [
    'example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml',
    'example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml',
  ],
  'github.com/cert-manager/cert-manager@v1.21.2': ['deploy/crds/cert-manager.io_certificates.yaml'],
  'github.com/argoproj/argo-cd/v3@v3.5.7': [
    'manifests/crds/application-crd.yaml',
    'manifests/crds/appproject-crd.yaml',
  ],
  'github.com/fluxcd/kustomize-controller@v1.9.6': ['config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml'],
  'github.com/fluxcd/source-controller@v1.9.6': ['config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml'],
};

/** Installs them and waits until they are served. Reads them from the Go module proxy the first time. */
export async function installForeignCrds(cluster: Pick<Cluster, 'kubectl'>): Promise<void> {
  for (const [module, files] of Object.entries(SOURCES)) {
    const input = (await moduleFiles(module, files)).join('\n---\n');
    const names = await cluster.kubectl(['apply', '--server-side', '-f', '-', '-o', 'name'], { input });
    const established = ['wait', '--for=condition=Established', '--timeout=30s', ...names.trim().split('\n')];
    // kubectl does not wait for an object that has no conditions at all yet.
    await until(module, () => cluster.kubectl(established).catch(() => undefined), { timeoutMs: 60_000 });
  }
}
