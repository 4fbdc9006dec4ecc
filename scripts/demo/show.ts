import { stringify } from 'yaml';
import { digestOf } from '../../src/crds/manifest.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { condition, RUN_NAMESPACE, type Run } from './runs.ts';
import { bold, dim, green, heading, indented, red, say } from './screen.ts';
import { artifactPath, logPath, measure, readText } from './stored.ts';
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
  const digest = main.status?.manifestDigest;
  const agrees = digest !== undefined && digestOf(main.status?.manifest) === digest;
  say(
    indented(
      `${dim(`its digest, SHA-256 of the RFC 8785 form: ${digest ?? 'none'}, computed again:`)} ${agrees ? green('the same') : red('not the same')}`,
    ),
  );

  heading('Metrics of the others');
  for (const run of runs) if (run !== main) showMetrics(run);

  const client = target.connect();
  try {
    await showLog(client, main);
    await showArtifacts(client, runs);
  } finally {
    await client.close();
  }
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

async function showLog(client: KubeClient, run: Run): Promise<void> {
  const { name } = run.metadata;
  const log = run.status?.result?.log;
  heading(`The log of ${name}`);
  if (log === undefined) return say(indented(dim('none')));
  say(dim(`$ kubectl get --raw ${logPath(name)}`));
  const lines = (await readText(client, logPath(name))).trimEnd().split('\n');
  const left = lines.length - LOG_LINES;
  if (left > 0) say(indented(dim(`… ${left} lines before`)));
  say(indented(lines.slice(-LOG_LINES).join('\n')));
  say(dim(indented(`${log.bytes} bytes, ${log.complete ? 'complete' : 'not complete'}`)));
}

async function showArtifacts(client: KubeClient, runs: readonly Run[]): Promise<void> {
  heading('Artifacts, read back and compared with the digest in the manifest');
  say(dim(`$ kubectl get --raw '${artifactPath('RUN', 'NAME')}' > FILE`));
  const kept = runs.flatMap((run) =>
    (run.status?.artifacts ?? []).map((artifact) => ({ run: run.metadata.name, ...artifact })),
  );
  for (const { run, name, sha256 = '', sizeBytes = 0, state } of kept) {
    const read = state === 'Stored' ? await measure(client, artifactPath(run, name)) : undefined;
    const verdict =
      read === undefined
        ? red(state)
        : read.sha256 === sha256 && read.bytes === sizeBytes
          ? green('the same')
          : red('not the same');
    say(
      indented(
        `${run.padEnd(20)} ${name.padEnd(12)} ${String(sizeBytes).padStart(9)} bytes  ${sha256 || '-'}  ${verdict}`,
      ),
    );
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
