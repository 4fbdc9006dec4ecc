import { ClusterConfigError } from '../kube/config.ts';
import { isKubeError, type KubeError } from '../kube/errors.ts';
import type { ErrorCode } from './envelope.ts';

/** Documented in docs/cli.md; scripts stand on them. */
export const EXIT_CODES: Record<ErrorCode, number> = {
  failed: 1,
  usage: 2,
  notFound: 3,
  forbidden: 4,
  unreachable: 5,
  notVerified: 6,
  wrongState: 7,
  interrupted: 130,
};

/** Ends a command. `next` is a command that the user can try. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly code: ErrorCode;
  readonly next: string | undefined;

  constructor(code: ErrorCode, message: string, next?: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.next = next;
  }
}

/** Every error that a command may end with, in words and with a next step. */
export function cliErrorOf(error: unknown): CliError {
  if (error instanceof CliError) return error;
  if (error instanceof ClusterConfigError)
    return new CliError('usage', error.message, 'kubectl config get-contexts', error);
  if (isKubeError(error)) return fromKube(error);
  if (error instanceof TypeError && error.message.includes('not https'))
    return new CliError('usage', error.message, 'kubectl config view --minify', error);
  return new CliError('failed', error instanceof Error ? error.message : String(error), undefined, error);
}

function fromKube(error: KubeError): CliError {
  // The request's path stands in front for the operator's logs; here it is noise.
  const message = error.message.replace(`${error.request}: `, '');
  switch (error.kind) {
    case 'notFound':
      return new CliError('notFound', message, 'kubectl worldflux runs list -A', error);
    case 'forbidden':
      return new CliError('forbidden', message, 'kubectl worldflux doctor', error);
    case 'unauthorized':
      return new CliError('forbidden', `the cluster does not know you: ${message}`, 'kubectl auth whoami', error);
    case 'unavailable':
    case 'timeout':
      return new CliError('unreachable', `the cluster did not answer: ${message}`, 'kubectl cluster-info', error);
    case 'invalid':
      return new CliError('usage', message, undefined, error);
    case 'aborted':
      return new CliError('interrupted', 'interrupted', undefined, error);
    default:
      return new CliError('failed', message, 'kubectl worldflux doctor', error);
  }
}
