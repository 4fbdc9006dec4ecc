import { parseArgs } from 'node:util';
import { down, up } from './main.ts';

/** The demo itself, once the host is prepared; scripts/demo.mjs starts it. */
const stop = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort(new Error(`ended by ${name}`)));

try {
  const { values } = parseArgs({
    options: { down: { type: 'boolean', default: false }, context: { type: 'string' }, registry: { type: 'string' } },
  });
  process.exitCode = await (values.down ? down(values) : up(values, stop.signal));
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : String(error)}`);
  if (!stop.signal.aborted)
    console.error(
      'What stands so far is left as it is; npm run demo goes on from there, npm run demo -- --down removes it.',
    );
  process.exitCode = 1;
}
