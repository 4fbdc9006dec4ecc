#!/usr/bin/env node

/** `kubectl worldflux`: kubectl finds it in the PATH as kubectl-worldflux. */

const NEEDED = 24;

if (Number.parseInt(process.versions.node, 10) < NEEDED) {
  process.stderr.write(
    `error: kubectl-worldflux needs Node ${NEEDED} or newer, and the first \`node\` in the PATH (${process.execPath}) is ${process.version}\n`,
  );
  process.exitCode = 1;
} else {
  // Only now: an older Node cannot even load the libraries.
  const { run } = await import('./program.ts');
  const stopping = new AbortController();
  process.once('SIGINT', () => stopping.abort());
  process.once('SIGTERM', () => stopping.abort());
  // `kubectl worldflux logs x | head`: who reads no further wants no complaint.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

  process.exitCode = await run(process.argv.slice(2), {
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    signal: stopping.signal,
  });
}
