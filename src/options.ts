import { parseArgs } from 'node:util';
import { z } from 'zod';

/**
 * Every setting of the operator, once: flag, environment variable, default, meaning. A flag wins over its variable.
 * A wrong setting is refused at start, by name.
 */

const port = z.coerce.number().int().min(0).max(65_535).describe('a port, a whole number from 0 to 65535');
const count = (max: number) => z.coerce.number().int().min(1).max(max).describe(`a whole number from 1 to ${max}`);
const httpURL = z.url({ protocol: /^https?$/ }).describe('an http:// or https:// URL');
const flag = z
  .enum(['true', 'false'])
  .transform((v) => v === 'true')
  .describe('true or false');
const text = z.string().min(1).describe('some text');
const cidrs = z
  .string()
  .transform((list) => list.split(',').filter((range) => range !== ''))
  .pipe(z.array(z.union([z.cidrv4(), z.cidrv6()])))
  .describe('ranges with commas between them, such as 10.96.0.0/12,fd00:10::/64');
const oneOf = <const T extends readonly [string, ...string[]]>(names: T) =>
  z.enum(names).describe(`one of ${names.join(', ')}`);

interface Setting {
  /** With a description: what a refusal says would be right. */
  schema: z.ZodType;
  /** As written on the command line; none means that the setting is absent unless given. */
  default?: string;
  /** Another variable that is read, after ours, because other programs know it. */
  also?: string;
  value: string;
  help: string;
}

const SETTINGS = {
  kubeconfig: {
    schema: text,
    value: 'FILE',
    help: 'Kubeconfig to use. Without it: the service account of the Pod. ~/.kube/config is never read on its own.',
  },
  context: { schema: text, value: 'NAME', help: 'Context of that kubeconfig. Default: its current one.' },
  namespace: {
    schema: text,
    default: 'worldflux-system',
    value: 'NAME',
    help: 'Where the operator keeps its Lease, certificates and pinned profiles.',
  },
  image: {
    schema: text,
    default: 'ghcr.io/worldflux/worldflux-operator:0.1.0',
    value: 'REF',
    help: 'Image of the collector and of the source fetcher in run pods: the operator’s own.',
  },
  'installation-id': {
    schema: z.uuid().describe('a UUID'),
    value: 'UUID',
    help: 'Identity of this installation in the store and in tokens. Default: from the cluster and the namespace.',
  },
  workers: { schema: count(256), default: '16', value: 'N', help: 'Runs worked on at the same time.' },
  'gateway-port': { schema: port, default: '8443', value: 'PORT', help: 'HTTPS port that collectors push results to.' },
  'gateway-url': {
    schema: z.url({ protocol: /^https$/ }).describe('an https:// URL'),
    value: 'URL',
    help: 'Where pods reach that port. Default: the Service worldflux-operator-gateway in the operator’s namespace.',
  },
  'tls-dir': {
    schema: text,
    value: 'DIR',
    help: 'Folder with tls.crt, tls.key and ca.crt for the gateway and the results API. Default: made and kept in a Secret.',
  },
  'replica-address': {
    schema: z.union([z.hostname(), z.ipv4(), z.ipv6()]).describe('a host name or an address'),
    value: 'HOST',
    help: 'Where other replicas reach this one, its Pod’s address: a standby hands on to the leader what runs report.',
  },
  'results-api-port': {
    schema: port,
    value: 'PORT',
    help: 'HTTPS port at which the API server reads results for users (results.worldflux.ai). Absent or 0: off.',
  },
  'metrics-port': {
    schema: port,
    default: '8080',
    value: 'PORT',
    help: 'HTTP port of /metrics, /healthz, /readyz and /leaderz.',
  },
  store: {
    schema: oneOf(['files', 's3']),
    default: 'files',
    value: 'KIND',
    help: 'Run store: files (a folder, one replica) or s3.',
  },
  'store-dir': { schema: text, default: '/var/lib/worldflux/store', value: 'DIR', help: 'Folder of the file store.' },
  's3-bucket': { schema: text, value: 'NAME', help: 'Bucket of the S3 store.' },
  's3-region': { schema: text, default: 'us-east-1', value: 'NAME', help: 'Region of the bucket.' },
  's3-endpoint': { schema: httpURL, value: 'URL', help: 'S3 service other than AWS; pods must reach it too.' },
  's3-path-style': {
    schema: flag,
    default: 'false',
    value: 'true|false',
    help: 'Address buckets by path, as most S3 services other than AWS want it.',
  },
  'sync-concurrency': {
    schema: count(64),
    default: '8',
    value: 'N',
    help: 'Runs sent to WorldFlux at the same time, over all targets.',
  },
  'sync-concurrency-per-target': {
    schema: count(64),
    default: '4',
    value: 'N',
    help: 'The same for one target and key; where the target keeps a ledger it is always one.',
  },
  'cluster-ranges': {
    schema: cidrs,
    default: '',
    value: 'CIDR,...',
    help: 'Pod, service and node ranges. Requests to other hosts never go there, even where the ranges are public.',
  },
  'orphan-age-seconds': {
    schema: count(604_800),
    default: '600',
    value: 'S',
    help: 'Work at a vendor that no run names is an orphan once it is this old and was seen twice.',
  },
  'otlp-endpoint': {
    schema: httpURL,
    also: 'OTEL_EXPORTER_OTLP_ENDPOINT',
    value: 'URL',
    help: 'OTLP/HTTP receiver of spans, such as http://collector:4318; its headers come from OTEL_EXPORTER_OTLP_HEADERS. Absent: no spans.',
  },
  'log-limit-mib': {
    schema: count(1_048_576),
    default: '64',
    value: 'MIB',
    help: 'Most of one container’s log that is kept; its head and its newest part.',
  },
  'log-level': {
    schema: oneOf(['trace', 'debug', 'info', 'warn', 'error']),
    default: 'info',
    value: 'LEVEL',
    help: 'How much the operator itself logs.',
  },
} as const satisfies Record<string, Setting>;

type Name = keyof typeof SETTINGS;
type Parsed = {
  [K in Name]: (typeof SETTINGS)[K] extends { default: string }
    ? z.output<(typeof SETTINGS)[K]['schema']>
    : z.output<(typeof SETTINGS)[K]['schema']> | undefined;
};
export type OperatorOptions = Parsed;

/** A setting is wrong; the message names it and says what would be right. */
export class OptionsError extends Error {
  override readonly name = 'OptionsError';
}

const variableOf = (name: string): string => `WORLDFLUX_${name.toUpperCase().replaceAll('-', '_')}`;

export function parseOptions(argv: readonly string[], env: NodeJS.ProcessEnv): OperatorOptions {
  const flags = readFlags(argv);
  const parsed: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries(SETTINGS) as [Name, Setting][]) {
    const given = flags[name] ?? fromEnv(name, setting, env) ?? setting.default;
    if (given === undefined) continue;
    const result = setting.schema.safeParse(given);
    if (!result.success) {
      throw new OptionsError(`--${name} (${variableOf(name)}): "${given}" is not ${setting.schema.description}`);
    }
    parsed[name] = result.data;
  }
  const options = parsed as OperatorOptions;
  if (options.store === 's3' && options['s3-bucket'] === undefined)
    throw new OptionsError('--s3-bucket (WORLDFLUX_S3_BUCKET): --store s3 needs the name of a bucket');
  if (options.context !== undefined && options.kubeconfig === undefined)
    throw new OptionsError('--context (WORLDFLUX_CONTEXT): name the file too, with --kubeconfig');
  return options;
}

const fromEnv = (name: string, { also }: Setting, env: NodeJS.ProcessEnv): string | undefined =>
  nonEmpty(env[variableOf(name)]) ?? (also === undefined ? undefined : nonEmpty(env[also]));

const nonEmpty = (value: string | undefined): string | undefined => (value === '' ? undefined : value);

function readFlags(argv: readonly string[]): Partial<Record<Name, string>> {
  try {
    const options = Object.fromEntries(Object.keys(SETTINGS).map((name) => [name, { type: 'string' as const }]));
    return parseArgs({ args: [...argv], options, allowPositionals: false }).values as Partial<Record<Name, string>>;
  } catch (error) {
    throw new OptionsError(`${(error as Error).message} (--help lists every setting)`, { cause: error });
  }
}

/** For --help, and for the reference page. */
export function describeOptions(): string {
  const lines = (Object.entries(SETTINGS) as [Name, Setting][]).map(([name, setting]) => {
    const { value, help, default: standard, also }: Setting = setting;
    const head = `  --${name} ${value}`;
    const facts = [
      variableOf(name),
      ...(also === undefined ? [] : [also]),
      ...(standard === undefined || standard === '' ? [] : [`default ${standard}`]),
    ].join(', ');
    return `${head.padEnd(34)}${help}\n${' '.repeat(34)}(${facts})`;
  });
  return `Usage: worldflux-operator operator [settings]\n\n${lines.join('\n')}\n`;
}
