import { readdirSync } from 'node:fs';
import { join } from 'node:path';

/** The smoke workloads as images, for whoever builds them: the tests, the demo, a release. */

export interface SmokeImage {
  /** The folder below `images/`, and the last part of the tag. */
  name: string;
  tag: string;
  /** The build context: the folder `images/`. */
  context: string;
  /** Relative to the context, like the paths below. */
  dockerfile: string;
  /** What its `ARG BASE` has to be: an image with Python 3.11 or newer and pip. */
  base: 'python';
  /**
   * Pinned Python packages; absent where the standard library is enough. A build that cannot reach a package index takes their wheels
   * from `wheels/` in the context.
   */
  requirements?: string;
  /** All that the image is made of besides base and wheels: while these files stay the same, so does the image. */
  cacheKeyFiles: readonly string[];
}

const VERSION = '0.1.0';
const CONTEXT = import.meta.dirname;

function image(name: string, requirements?: string): SmokeImage {
  const files = ['common', name].flatMap((folder) =>
    readdirSync(join(CONTEXT, folder))
      .filter((file) => file === 'Dockerfile' || /\.(py|xml|txt)$/.test(file))
      .map((file) => `${folder}/${file}`),
  );
  return {
    name,
    tag: `worldflux/smoke-${name}:${VERSION}`,
    context: CONTEXT,
    dockerfile: `${name}/Dockerfile`,
    base: 'python',
    ...(requirements === undefined ? {} : { requirements }),
    cacheKeyFiles: files.toSorted(),
  };
}

export const SMOKE_IMAGES: readonly SmokeImage[] = [
  image('cpu'),
  image('mujoco', 'common/requirements.txt'),
  image('dreamer-style-light', 'dreamer-style-light/requirements.txt'),
  image('mujoco-policy-eval', 'common/requirements.txt'),
];
