import { runOperator } from './controller/operator.ts';
import { ClusterConfigError } from './kube/config.ts';
import { describeOptions, OptionsError, parseOptions, type OperatorOptions } from './options.ts';
import { openLog } from './telemetry/log.ts';
import { secretsInUse } from './telemetry/secrets-in-use.ts';

/** What other programs send their requests through. */
const PROXIES = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy'];

/** Secrets that libraries read by themselves: the SDK of the S3 store, and the exporter of spans. */
export function secretsOf(env: NodeJS.ProcessEnv): string[] {
  const { AWS_SECRET_ACCESS_KEY = '', AWS_SESSION_TOKEN = '', OTEL_EXPORTER_OTLP_HEADERS = '' } = env;
  // `name=value,name=value`, percent-encoded; of `Bearer abc` the token alone is a secret too.
  const headers = OTEL_EXPORTER_OTLP_HEADERS.split(',').flatMap((pair) => {
    const encoded = pair.slice(pair.indexOf('=') + 1).trim();
    const value = decodedOr(encoded);
    return [encoded, value, ...value.split(/\s+/)];
  });
  return [AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, ...headers].filter((value) => value !== '');
}

function decodedOr(encoded: string): string {
  try {
    return decodeURIComponent(encoded);
  } catch {
    return encoded;
  }
}

/** The operator's process: settings in, signals handled, one exit code out. */
export async function main(argv: string[]): Promise<void> {
  if (argv.includes('--help')) {
    process.stdout.write(describeOptions());
    return;
  }
  let options: OperatorOptions;
  try {
    options = parseOptions(argv, process.env);
  } catch (error) {
    if (!(error instanceof OptionsError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 2;
    return;
  }
  const log = openLog(options['log-level']);
  secretsInUse.add(secretsOf(process.env), 'environment');
  const unused = PROXIES.filter((name) => (process.env[name] ?? '') !== '');
  if (unused.length > 0)
    log.warn(
      { variables: unused },
      'outgoing proxies are not used: requests to vendors, WorldFlux and the S3 store go out directly',
    );
  const stopping = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) {
    process.once(name, () => {
      log.info({ signal: name }, 'stopping');
      stopping.abort(new DOMException(name, 'AbortError'));
    });
  }
  process.on('unhandledRejection', (error) => {
    // A bug: leading on with unknown state is worse than a failover.
    log.fatal({ err: error }, 'unhandled rejection');
    process.exit(1);
  });
  try {
    const end = await runOperator(options, log, stopping.signal);
    log.info(end === 'lost' ? 'leadership is lost; a new process starts clean' : 'stopped');
    process.exitCode = end === 'lost' ? 1 : 0;
  } catch (error) {
    if (error instanceof ClusterConfigError)
      process.stderr.write(`--kubeconfig (WORLDFLUX_KUBECONFIG): ${error.message}\n`);
    else log.fatal({ err: error }, 'the operator cannot go on');
    process.exitCode = 1;
  }
  // Whatever a library still holds open must not keep a process alive that no longer leads.
  setImmediate(() => process.exit());
}
