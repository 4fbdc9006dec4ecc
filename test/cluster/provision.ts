import { isBuilt, KUBERNETES_VERSION, kubernetesBinary } from './build.ts';
import { baseImage, isBaseBuilt, type Base } from './images.ts';
import { whyNot } from './index.ts';
import { usesKind } from './provider.ts';
import { busyboxImage, pauseImage } from './small-images.ts';

/** Builds what clusters and their images are made of, so that the first test does not pay for it. Prints a line for each thing it does. */
export async function provision(o: { plan: boolean }): Promise<void> {
  if (usesKind) return;
  const noApi = await whyNot('api');
  if (noApi !== undefined) return say(`no Kubernetes on this host, so no integration tests: ${noApi}`);
  if (!(await isBuilt()))
    await step(o, `build Kubernetes ${KUBERNETES_VERSION} from source (4 to 7 minutes on two cores)`, kubernetesBinary);

  const noNode = await whyNot('node');
  if (noNode !== undefined) return o.plan ? undefined : say(`no node on this host, so no end-to-end tests: ${noNode}`);
  for (const base of ['python', 'node'] satisfies Base[]) {
    if (!(await isBaseBuilt(base)))
      await step(o, `build the base image for ${base} (about half a minute)`, () => baseImage(base));
  }
  if (o.plan) return;
  await pauseImage();
  await busyboxImage();
}

async function step(o: { plan: boolean }, what: string, act: () => Promise<unknown>): Promise<void> {
  if (o.plan) return say(`would ${what}`);
  say(what);
  const from = performance.now();
  await act();
  say(`done after ${((performance.now() - from) / 1000).toFixed(1)} s`);
}

function say(line: string): void {
  console.log(`prepare: ${line}`);
}
