import { createHash } from 'node:crypto';
import type { WorldRunSpec } from '../../crds/world-run.ts';
import { isKubeError } from '../../kube/errors.ts';
import type { SourceFile } from '../../runtime/contract.ts';
import type { Cluster } from '../run/ports.ts';

export const NO_FILES: ReadonlyMap<string, SourceFile> = new Map();

/** The files that a request names, from the ConfigMap that is the run's source; or what is wrong, in words. */
export async function readFiles(
  cluster: Pick<Cluster, 'readConfigMap'>,
  namespace: string,
  { request, source }: Pick<WorldRunSpec, 'request' | 'source'>,
): Promise<ReadonlyMap<string, SourceFile> | { problem: string }> {
  const wanted = request?.files ?? [];
  if (wanted.length === 0) return NO_FILES;
  const name = source?.configMap?.name;
  // The runtime's plan refuses it with the field's name.
  if (name === undefined) return NO_FILES;
  try {
    const { data, binaryData } = await cluster.readConfigMap({ namespace, name });
    const files = new Map<string, SourceFile>();
    for (const { path } of wanted) {
      const text = data?.[path];
      const bytes =
        text !== undefined
          ? Buffer.from(text)
          : binaryData?.[path] !== undefined
            ? Buffer.from(binaryData[path], 'base64')
            : undefined;
      if (bytes === undefined)
        return { problem: `ConfigMap ${name} has no key ${path}, which spec.request.files names` };
      files.set(path, { bytes, sha256: createHash('sha256').update(bytes).digest('hex') });
    }
    return files;
  } catch (error) {
    if (isKubeError(error, 'notFound')) return { problem: `there is no ConfigMap ${name}, which spec.source names` };
    // The operator reads no ConfigMaps of tenants but those that it was let read.
    if (isKubeError(error, 'forbidden'))
      return {
        problem: `the operator may not read ConfigMap ${name}: a Role in the namespace has to grant get on this one to it`,
      };
    throw error;
  }
}
