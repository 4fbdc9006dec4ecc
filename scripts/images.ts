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
if (values.help || chosen.length === 0) {
  console.error(
    values.help ? USAGE : `there is no image ${values.only}; there are ${IMAGES.map(({ name }) => name).join(', ')}`,
  );
  process.exit(64);
}

const stop = new AbortController();
process.once('SIGINT', () => stop.abort(new Error('interrupted')));
for (const { name, archive } of chosen) {
  const file = await archive(stop.signal);
  if (values.push === undefined) {
    console.log(`${name}  ${file}`);
    continue;
  }
  const reference = `${values.push.replace(/\/$/, '')}/${name}:${VERSION}`;
  const { insecure } = values;
  console.log(await pushImage(file, reference, { insecure, signal: stop.signal }));
}
if (values.push !== undefined && chosen.some(({ name }) => name === 'worldflux-operator')) {
  console.log(`\\nhelm install worldflux-operator charts/worldflux-operator -n worldflux-system --create-namespace \\\\
  --set image.repository=${values.push}/worldflux-operator`);
}
