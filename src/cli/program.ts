import type { Writable } from 'node:stream';
import { Command, CommanderError, InvalidArgumentError, Option, type OutputConfiguration } from 'commander';
import { CAPABILITIES, type Capability } from '../crds/vocabulary.ts';
import { VERSION } from '../version.ts';
import * as artifacts from './commands/artifacts.ts';
import { approve } from './commands/approve.ts';
import { cancel, retry, sync } from './commands/change.ts';
import { doctor } from './commands/doctor.ts';
import { events } from './commands/events.ts';
import { logs } from './commands/logs.ts';
import { manifest } from './commands/manifest.ts';
import * as runs from './commands/runs.ts';
import * as runtime from './commands/runtime.ts';
import { CLI_API_VERSION, type Answer } from './envelope.ts';
import { CliError, cliErrorOf, EXIT_CODES } from './errors.ts';
import { openSession, type GlobalOptions, type Session } from './session.ts';

/** What a command reads and writes beside the cluster. */
export interface Io {
  stdout: Writable;
  stderr: Writable;
  env: NodeJS.ProcessEnv;
  signal: AbortSignal;
}

/** Runs one command line and answers its exit code. */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  let exitCode = 0;
  // Known before the options are parsed: a wrong option is answered as JSON too.
  const json = argv.includes('--json');
  const output: OutputConfiguration = {
    writeOut: (text) => void io.stdout.write(text),
    writeErr: (text) => void (json ? undefined : io.stderr.write(text)),
  };
  const program = build(async (options, work) => {
    const session = openSession(options, io);
    try {
      const answer = await work(session);
      if (answer === undefined) return;
      print(io, json, answer);
      exitCode = answer.exitCode ?? 0;
    } finally {
      await session.client.close();
    }
  }, output);
  try {
    await program.parseAsync(argv, { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    return complain(io, json, error);
  }
}

function print({ stdout }: Io, json: boolean, { kind, data, text }: Answer): void {
  if (json) stdout.write(`${JSON.stringify({ apiVersion: CLI_API_VERSION, kind, data })}\n`);
  else stdout.write(text.endsWith('\n') ? text : `${text}\n`);
}

function complain({ stdout, stderr, signal }: Io, json: boolean, error: unknown): number {
  const { code, message, next } = signal.aborted
    ? new CliError('interrupted', 'interrupted')
    : error instanceof CommanderError
      ? usageError(error)
      : cliErrorOf(error);
  if (json) {
    const body = { apiVersion: CLI_API_VERSION, kind: 'Error', error: { code, message, next: next ?? null } };
    stdout.write(`${JSON.stringify(body)}\n`);
  } else if (!(error instanceof CommanderError)) {
    stderr.write(`error: ${message}\n`);
  }
  if (!json && next !== undefined && !helped(error)) stderr.write(`try: ${next}\n`);
  return EXIT_CODES[code];
}

/** Half a command line, such as `kubectl worldflux runs`: its help was printed, and is answer enough for a person. */
const helped = (error: unknown): boolean => error instanceof CommanderError && error.code === 'commander.help';

function usageError(error: CommanderError): CliError {
  const message = helped(error) ? 'a command is missing' : error.message.replace(/^error: /, '').replace(/\n/, ' ');
  return new CliError('usage', message, 'kubectl worldflux --help', error);
}

type Within = (options: GlobalOptions, work: (session: Session) => Promise<Answer | undefined>) => Promise<void>;

function build(within: Within, output: OutputConfiguration): Command {
  const program = new Command('kubectl worldflux')
    .description('World model runs on Kubernetes: what they do, and what they left behind.')
    .version(VERSION)
    .option('--kubeconfig <file>', 'kubeconfig to use; default: $KUBECONFIG, then ~/.kube/config')
    .option('--context <name>', 'context of the kubeconfig; default: its current one')
    .option('-n, --namespace <name>', 'namespace; default: that of the context')
    .option('--json', `one document of ${CLI_API_VERSION} on standard output`)
    // Before the commands are made: they take these over.
    .configureOutput(output)
    .exitOverride();
  const act = (work: (session: Session) => Promise<Answer | undefined>) => within(program.opts<GlobalOptions>(), work);

  program
    .command('doctor')
    .description('what works here, and what you may do')
    .addOption(
      new Option('--capability <name>', 'only runtimes that can do this; an error where none is ready').choices(
        CAPABILITIES,
      ),
    )
    .option('--registered-only', 'leave out runtimes that no profile names', false)
    .action(({ capability, registeredOnly }: { capability?: Capability; registeredOnly: boolean }) =>
      act((session) => doctor(session, { capability, registeredOnly })),
    );

  const runtimes = program.command('runtime').description('RuntimeProfiles: where runs may run');
  runtimes
    .command('list')
    .description('profiles and whether they are ready')
    .action(() => act(runtime.list));
  runtimes
    .command('doctor [profile]')
    .description('what the operator’s doctor says of them')
    .action((profile: string | undefined) => act((session) => runtime.doctor(session, profile)));

  const all = program.command('runs').description('WorldRuns');
  all
    .command('list')
    .description('runs of the namespace')
    .option('-A, --all-namespaces', 'of every namespace', false)
    .option('--project <name>', 'only those that sync to this WorldFlux project')
    .action((options: { allNamespaces: boolean; project?: string }) =>
      act((session) => runs.list(session, { allNamespaces: options.allNamespaces, project: options.project })),
    );
  all
    .command('show <run>')
    .description('one run')
    .action((name: string) => act((session) => runs.show(session, name)));

  program
    .command('logs <run>')
    .description('the log: from the pod while there is one, then as it is stored')
    .option('-f, --follow', 'go on until the run has ended, from attempt to attempt', false)
    .option('--rank <n>', 'node of a run with several', whole, 0)
    .option('--attempt <n>', 'attempt; default: the last', whole)
    .action((name: string, { follow, rank, attempt }: { follow: boolean; rank: number; attempt?: number }) =>
      act((session) => logs(session, name, { follow, rank, attempt })),
    );
  program
    .command('events <run>')
    .description('its calls to vendors and to WorldFlux, as they were recorded')
    .action((name: string) => act((session) => events(session, name)));
  program
    .command('manifest <run>')
    .description('the run’s manifest, checked against its recorded digest')
    .action((name: string) => act((session) => manifest(session, name)));

  const things = program.command('artifacts').description('what a run left behind');
  things
    .command('list <run>')
    .description('artifacts with their digests')
    .action((name: string) => act((session) => artifacts.list(session, name)));
  things
    .command('get <run> <artifact>')
    .description('download one and check its digest')
    .option('--rank <n>', 'node of a run with several', whole)
    .option('-o, --output <file>', 'file or folder to write to; default: its own name, here')
    .action((name: string, artifact: string, { rank, output }: { rank?: number; output?: string }) =>
      act((session) => artifacts.get(session, name, artifact, { rank, output })),
    );

  program
    .command('approve <run>')
    .description('let a run that waits for an approval start, in your name')
    .action((name: string) => act((session) => approve(session, name)));
  program
    .command('cancel <run>')
    .description('stop a run for good; what it has written is kept')
    .action((name: string) => act((session) => cancel(session, name)));
  program
    .command('retry <run>')
    .description('a new run from the spec of one that has ended')
    .option('--name <name>', 'of the new run; default: RUN-retry-N')
    .action((name: string, options: { name?: string }) => act((session) => retry(session, name, options.name)));
  program
    .command('sync <run>')
    .description('send the results of a run that has ended to WorldFlux, now')
    .action((name: string) => act((session) => sync(session, name)));
  return program;
}

function whole(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError('a whole number such as 0 is needed');
  return Number(text);
}
