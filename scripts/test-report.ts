/** What one layer came to. */
export interface Layer {
  name: string;
  seconds: number;
  passed: number;
  failed: number;
  /** Names of tests that this host could not run. */
  skipped: readonly string[];
  /** What failed, each with the first words of why: at the end of a long output nobody scrolls back for it. */
  failures?: readonly string[];
  /** Why the whole layer did not run. */
  reason?: string;
}

interface VitestReport {
  numPassedTests: number;
  numFailedTests: number;
  testResults: {
    status: string;
    name?: string;
    message?: string;
    assertionResults: { status: string; fullName: string; failureMessages?: string[] }[];
  }[];
}

/**
 * Reads the counts from vitest's JSON report. A file that cannot even be loaded has no failed tests, and a run that dies writes no report:
 * either counts as one failure, so that nothing is lost between the exit code and the numbers.
 */
export function layerOf(name: string, run: { seconds: number; exitCode: number; report: string | undefined }): Layer {
  const report = run.report === undefined ? undefined : (JSON.parse(run.report) as VitestReport);
  const files = report?.testResults ?? [];
  const brokenFiles = files.filter(
    (file) => file.status === 'failed' && file.assertionResults.every((test) => test.status !== 'failed'),
  );
  // Tests that a failed hook kept from running are skipped too; what they miss is not the host.
  const soundFiles = files.filter((file) => file.status !== 'failed');
  const failed = (report?.numFailedTests ?? 0) + brokenFiles.length;
  return {
    name,
    seconds: run.seconds,
    passed: report?.numPassedTests ?? 0,
    failed: failed === 0 && run.exitCode !== 0 ? 1 : failed,
    skipped: soundFiles.flatMap((file) => file.assertionResults.filter(isSkipped).map((test) => test.fullName)),
    failures: [
      ...brokenFiles.map((file) => `${file.name ?? 'a file'}: ${firstWords(file.message)}`),
      ...files.flatMap((file) =>
        file.assertionResults
          .filter((test) => test.status === 'failed')
          .map((test) => `${test.fullName}: ${firstWords(test.failureMessages?.[0])}`),
      ),
    ],
  };
}

function firstWords(message = ''): string {
  return message.trim().split('\n').slice(0, 3).join(' ').slice(0, 600);
}

/** One line a layer, then what did not run and why. */
export function describe(layers: readonly Layer[]): string[] {
  const ran = layers.filter((layer) => layer.reason === undefined);
  const lines = ran.map((layer) => {
    const outcome = layer.failed > 0 ? `${layer.failed} failed` : 'ok';
    return `${layer.name.padEnd(12)} ${layer.seconds.toFixed(1).padStart(7)} s  ${outcome}`;
  });
  for (const { name, reason } of layers)
    if (reason !== undefined) lines.push(`not run on this host: ${name}: ${reason}`);
  for (const { name, skipped } of layers)
    for (const test of skipped) lines.push(`not run on this host: ${name}: ${test}`);
  for (const { name, failures } of layers)
    for (const failure of failures ?? []) lines.push(`failed: ${name}: ${failure}`);
  return ['', ...lines];
}

export function total(layers: readonly Layer[]): { passed: number; failed: number } {
  const sum = (of: (layer: Layer) => number): number => layers.reduce((count, layer) => count + of(layer), 0);
  return { passed: sum((layer) => layer.passed), failed: sum((layer) => layer.failed) };
}

function isSkipped(test: { status: string }): boolean {
  return test.status === 'skipped' || test.status === 'pending' || test.status === 'todo';
}
