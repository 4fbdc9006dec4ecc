import { parseArgs } from 'node:util';
import { chooseProvider } from './demo/provider.ts';

const USAGE = `usage: npm run demo [-- OPTIONS]
  --plan            say what would be done, what it installs and how long it takes, and do nothing
  --down            remove everything that the demo made, but for the cache of built things
  --context NAME    use this context of your kubeconfig instead of a cluster of its own
  --registry REF    with --context: where to push the images to, such as registry.example/team (not needed for kind)
  --help`;

try {
  process.exitCode = await main();
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      plan: { type: 'boolean', default: false },
      down: { type: 'boolean', default: false },
      context: { type: 'string' },
      registry: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return 0;
  }
  // Before anything of the cluster is loaded: it reads at once which kind of cluster is meant.
  await chooseProvider();
  const { demo } = await import('./demo/main.ts');
  const stop = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const)
    process.once(name, () => stop.abort(new Error(`ended by ${name}`)));
  return demo(values, stop.signal);
}
