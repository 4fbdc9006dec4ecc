#!/usr/bin/env node
import { run } from './program.ts';

/** `kubectl worldflux`: kubectl finds it in the PATH as kubectl-worldflux. */

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
