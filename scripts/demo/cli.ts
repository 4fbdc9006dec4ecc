import { parseArgs } from 'node:util';
import { down, up, type DemoOptions } from './main.ts';

/** The demo itself, once the host is prepared; scripts/demo.mjs starts it. */
const stop = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort(new Error(`ended by ${name}`)));

const options = read();
if (options !== undefined) {
  try {
    process.exitCode = await (options.down ? down(options) : up(options, stop.signal));
  } catch (error) {
    console.error(`\n${error instanceof Error ? error.message : String(error)}`);
    const context = options.context === undefined ? '' : ` --context ${options.context}`;
    if (!options.down)
      console.error(
        `\nWhat stands so far is left as it is: the same command goes on from there, and npm run demo -- --down${context} removes it.`,
      );
    process.exitCode = 1;
  }
}

function read(): (DemoOptions & { down: boolean }) | undefined {
  try {
    return parseArgs({
      options: { down: { type: 'boolean', default: false }, context: { type: 'string' }, registry: { type: 'string' } },
    }).values;
  } catch (error) {
    console.error(`${(error as Error).message}; see npm run demo -- --help`);
    process.exitCode = 64;
    return undefined;
  }
}
