import { stringify } from 'yaml';
import { condition, RUN_NAMESPACE, type Run } from './runs.ts';
import { bold, dim, green, heading, indented, red, say } from './screen.ts';
import { measure, readText } from './stored.ts';
import type { Target } from './target.ts';

const LOG_LINES = 12;

/** Prints what a user would look at, each part under the command that shows it. */
export async function showResults(target: Target, runs: readonly Run[]): Promise<void> {
  heading('What came back');
  say(dim('The pods of the runs are deleted first: nothing below needs them.'));
  await target.kubectl(['-n', RUN_NAMESPACE, 'delete', 'pods', '-l', 'worldflux.ai/run-uid', '--wait=false']);
  await shown(target, ['get', 'runtimeprofiles']);
  await shown(target, ['get', 'worldruns', '-A', '-o', 'wide']);

  const main = runs.find((run) => run.metadata.name === 'dreamer-style-light') ?? runs[0]!;
  const name = main.metadata.name;
  heading(`Conditions of ${name}`);
  for (const { type, status, reason, message } of main.status?.conditions ?? []) {
    say(indented(`${type.padEnd(14)} ${status.padEnd(6)} ${reason.padEnd(16)} ${dim(message)}`));
  }

  heading(`The manifest of ${name}`);
  say(dim(`$ kubectl -n ${RUN_NAMESPACE} get worldrun ${name} -o jsonpath='{.status.manifest}'`));
  say(indented(stringify(main.status?.manifest ?? {}, { lineWidth: 0 })));
  say(dim(indented(`its digest: ${main.status?.manifestDigest ?? 'none'} (SHA-256 of the RFC 8785 form)`)));

  heading('Metrics');
  for (const run of runs) showMetrics(run);

  await showLog(target, main);
  await showArtifacts(target, runs);
}

async function shown(target: Target, args: readonly string[]): Promise<void> {
  say();
  say(dim(`$ kubectl ${args.join(' ')}`));
  say(indented(await target.kubectl(args)));
}

function showMetrics(run: Run): void {
  const metrics = Object.entries(run.status?.manifest?.metrics ?? {});
  const gpu = run.status?.manifest?.gpu;
  say(
    indented(
      bold(run.metadata.name) + (gpu ? dim(`  on a node with ${gpu.resource}, ${gpu.per_node} of them its own`) : ''),
    ),
  );
  if (metrics.length === 0) say(indented(dim('none'), 4));
  const width = Math.max(0, ...metrics.map(([name]) => name.length));
  for (const [name, value] of metrics) say(indented(`${name.padEnd(width)}  ${value}`, 4));
}

async function showLog(target: Target, run: Run): Promise<void> {
  const log = run.status?.result?.log;
  heading(`The stored log of ${run.metadata.name}`);
  if (log === undefined) return say(indented(dim('none')));
  const lines = (await readText(target, log.path)).trimEnd().split('\n');
  const left = lines.length - LOG_LINES;
  if (left > 0) say(indented(dim(`… ${left} lines before`)));
  say(indented(lines.slice(-LOG_LINES).join('\n')));
  say(dim(indented(`${log.bytes} bytes, ${log.complete ? 'complete' : 'not complete'}; in the store as ${log.path}`)));
}

async function showArtifacts(target: Target, runs: readonly Run[]): Promise<void> {
  heading('Artifacts, and whether the stored bytes still have the recorded digest');
  const kept = runs.flatMap((run) =>
    (run.status?.artifacts ?? []).map((artifact) => ({ run: run.metadata.name, ...artifact })),
  );
  const found = await measure(
    target,
    kept.filter(({ state }) => state === 'Stored').map(({ path }) => path),
  );
  for (const { run, name, path, sha256 = '', sizeBytes = 0, state } of kept) {
    const stored = found[path];
    const agrees =
      stored !== undefined && stored.sha256 === sha256.replace(/^sha256:/, '') && stored.bytes === sizeBytes;
    say(
      indented(
        `${run.padEnd(20)} ${name.padEnd(12)} ${String(sizeBytes).padStart(9)} bytes  ${sha256 || '-'}  ${agrees ? green('the same') : red(state)}`,
      ),
    );
    say(dim(indented(path, 4)));
  }
  if (kept.length === 0) say(indented(dim('none')));
}

/** Why a run did not succeed, for the end of the demo. */
export function failures(runs: readonly Run[]): string[] {
  return runs
    .filter((run) => condition(run, 'Succeeded')?.status !== 'True')
    .map((run) => {
      const succeeded = condition(run, 'Succeeded');
      return `${run.metadata.name}: ${succeeded?.reason ?? 'has not ended'}: ${succeeded?.message ?? ''}`;
    });
}
