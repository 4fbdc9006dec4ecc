import { run } from '../../test/cluster/process.ts';
import { goTool } from '../tools/go-tool.ts';

const TIMEOUT_MS = 20 * 60_000;

export interface PushOptions {
  /** A registry without TLS, such as one on this host. */
  insecure?: boolean;
  signal?: AbortSignal;
}

/**
 * Pushes a docker archive and answers the reference by digest (`registry/name@sha256:...`). Credentials are those of
 * `docker login`; layers that the registry has are not sent again.
 */
export async function pushImage(archive: string, reference: string, options: PushOptions = {}): Promise<string> {
  const crane = await goTool('crane', options.signal);
  const argv = [crane, 'push', ...(options.insecure === true ? ['--insecure'] : []), archive, reference];
  return (await run(argv, { timeoutMs: TIMEOUT_MS, signal: options.signal })).trim();
}
