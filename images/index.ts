/** The smoke workloads as images, for whoever builds them: the tests, the demo, a release. */

export interface SmokeImage {
  /** The folder below `images/`, and the last part of the tag. */
  name: string;
  tag: string;
  /** Dockerfile relative to `images/`, which is the build context. Its argument BASE is an image with Python 3.11 or newer and pip. */
  dockerfile: string;
  /**
   * Pinned Python packages, relative to `images/`; absent where the standard library is enough. A build that cannot reach a package index
   * takes their wheels from `wheels/` in the context: `pip download --no-deps --require-hashes -r <requirements> -d <context>/wheels`.
   */
  requirements?: string;
}

const VERSION = '0.1.0';

function image(name: string, requirements?: string): SmokeImage {
  return {
    name,
    tag: `worldflux/smoke-${name}:${VERSION}`,
    dockerfile: `${name}/Dockerfile`,
    ...(requirements === undefined ? {} : { requirements }),
  };
}

export const SMOKE_IMAGES: readonly SmokeImage[] = [
  image('cpu'),
  image('mujoco', 'common/requirements.txt'),
  image('dreamer-style-light', 'dreamer-style-light/requirements.txt'),
  image('mujoco-policy-eval', 'common/requirements.txt'),
];
