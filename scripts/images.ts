import { parseArgs } from 'node:util';
import { SMOKE_IMAGES } from '../images/index.ts';
import { VERSION } from '../src/version.ts';
import { buildImage } from '../test/cluster/images.ts';
import { operatorImage } from '../test/cluster/operator-image.ts';
import { pushImage } from './release/push.ts';

/** Builds the operator's image and the smoke workloads, and pushes them where no release of ours can be pulled. */

const USAGE = `usage: npm run images -- [--push REGISTRY] [--insecure] [--only NAME]
  Builds worldflux-operator and the smoke workloads from this checkout, and prints where they are.
  --push REGISTRY  to REGISTRY/NAME:${VERSION}, such as registry.example.com/worldflux, with the credentials of docker login
  --insecure       the registry speaks plain HTTP
  --only NAME      one of them`;

interface Image {
  name: string;
  archive(signal: AbortSignal): Promise<string>;
}

const IMAGES: readonly Image[] = [
  { name: 'worldflux-operator', archive: operatorImage },
  ...SMOKE_IMAGES.map((image) => ({
    name: `smoke-${image.name}`,
    archive: (signal: AbortSignal) => buildImage({ ...image, signal }),
  })),
];

const { values } = parseArgs({
  options: {
    push: { type: 'string' },
    insecure: { type: 'boolean', default: false },
    only: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

const chosen = IMAGES.filter(({ name }) => values.only === undefined || name === values.only);
if (values.help) {
  console.log(USAGE);
  process.exit(0);
}
if (chosen.length === 0) {
  console.error(`there is no image ${values.only}; there are ${IMAGES.map(({ name }) => name).join(', ')}`);
  process.exit(64);
}

const stop = new AbortController();
process.once('SIGINT', () => stop.abort(new Error('interrupted')));
const registry = values.push?.replace(/\/$/, '');
for (const { name, archive } of chosen) {
  const file = await archive(stop.signal);
  if (registry === undefined) {
    console.log(`${name}  ${file}`);
    continue;
  }
  const { insecure } = values;
  console.log(await pushImage(file, `${registry}/${name}:${VERSION}`, { insecure, signal: stop.signal }));
}
if (registry !== undefined && chosen.some(({ name }) => name === 'worldflux-operator')) {
  console.log(`\nhelm install worldflux-operator charts/worldflux-operator -n worldflux-system --create-namespace \\
  --set image.repository=${registry}/worldflux-operator`);
}
