import { parseArgs } from 'node:util';
import { SMOKE_IMAGES } from '../images/index.ts';
import { VERSION } from '../src/version.ts';
import { attachCluster } from '../test/cluster/index.ts';
import { buildImage } from '../test/cluster/images.ts';
import { OPERATOR_IMAGE, operatorImage } from '../test/cluster/operator-image.ts';
import { pushImage } from './release/push.ts';

/** Builds the operator's image and the smoke workloads, and brings them where no release of ours can be pulled. */

const USAGE = `usage: npm run images -- [--push REGISTRY [--insecure]] [--load CLUSTER] [--only NAME]
  Builds worldflux-operator and the smoke workloads from this checkout, and prints where they are.
  --push REGISTRY  to REGISTRY/NAME:${VERSION}, such as registry.example.com/worldflux, with the credentials of docker login
  --insecure       the registry speaks plain HTTP
  --load CLUSTER   into a cluster of npm run cluster, such as dev, under the names that the samples use
  --only NAME      one of them`;

interface Image {
  name: string;
  /** Its name in a cluster that it is loaded into. */
  tag: string;
  archive(signal: AbortSignal): Promise<string>;
}

const IMAGES: readonly Image[] = [
  { name: 'worldflux-operator', tag: OPERATOR_IMAGE, archive: operatorImage },
  ...SMOKE_IMAGES.map((image) => ({
    name: `smoke-${image.name}`,
    tag: image.tag,
    archive: (signal: AbortSignal) => buildImage({ ...image, signal }),
  })),
];

const { values } = parseArgs({
  options: {
    push: { type: 'string' },
    insecure: { type: 'boolean', default: false },
    load: { type: 'string' },
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

const cluster = values.load === undefined ? undefined : await attachCluster(values.load);
if (values.load !== undefined && cluster === undefined) {
  console.error(`no cluster is called ${values.load}: npm run cluster -- up --name ${values.load}`);
  process.exit(1);
}

const stop = new AbortController();
process.once('SIGINT', () => stop.abort(new Error('interrupted')));
const registry = values.push?.replace(/\/$/, '');
for (const { name, tag, archive } of chosen) {
  const file = await archive(stop.signal);
  if (cluster !== undefined) {
    await cluster.loadImage(file);
    console.log(tag);
    continue;
  }
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
