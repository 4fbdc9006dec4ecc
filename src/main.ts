#!/usr/bin/env node
/** Picks what this process is: the operator, or a helper in a run's pod. Each mode loads only its own code. */

const [mode, ...rest] = process.argv.slice(2);

switch (mode) {
  case 'operator':
    await (await import('./operator-main.ts')).main(rest);
    break;
  case 'collector':
    await (await import('./results/collector/main.ts')).main();
    break;
  case 'fetch-source':
    await (await import('./runtime/local/fetch-source.ts')).main();
    break;
  default:
    process.stderr.write(
      'usage: worldflux-operator operator|collector|fetch-source (operator --help lists its settings)\n',
    );
    process.exitCode = mode === '--help' || mode === undefined ? 0 : 2;
}
