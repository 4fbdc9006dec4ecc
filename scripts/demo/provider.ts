import { run } from '../../test/cluster/process.ts';

const VARIABLE = 'WORLDFLUX_CLUSTER_PROVIDER';

/**
 * kind where Docker answers and kind is installed, else Kubernetes from source on this host. Said through the variable
 * that the cluster scripts read, unless the user has said it already.
 */
export async function chooseProvider(): Promise<void> {
  if (process.env[VARIABLE] !== undefined) return;
  const answers = await Promise.all([
    works('docker', 'info'),
    works('kind', 'version'),
    works('kubectl', 'version', '--client'),
  ]);
  if (answers.every(Boolean)) process.env[VARIABLE] = 'kind';
}

const works = (...argv: string[]): Promise<boolean> =>
  run(argv, { timeoutMs: 20_000 }).then(
    () => true,
    () => false,
  );
