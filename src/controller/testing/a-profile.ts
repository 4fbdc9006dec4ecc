import { runtimeProfileSpec } from '../../crds/runtime-profile.ts';
import { DEFAULT_PROFILE_ANNOTATION } from '../../crds/runtime-profile.ts';
import type { RuntimeProfileSpec } from '../../crds/runtime-profile.ts';
import { projectProfile, type ProfileView, type RuntimeProfile } from '../run/view.ts';
import { at } from '../../runtime/local/testing/clock.ts';

type Input = Record<string, unknown>;

const IMAGE = `ghcr.io/acme/wm@sha256:${'a'.repeat(64)}`;

export class ProfileBuilder {
  readonly #profile: RuntimeProfile;

  constructor(profile: RuntimeProfile) {
    this.#profile = profile;
  }

  #spec(patch: Input): ProfileBuilder {
    // Through the schema again, so that defaults and refusals are the real ones.
    return new ProfileBuilder({
      ...this.#profile,
      spec: runtimeProfileSpec.parse({ ...this.#profile.spec, ...patch }),
    });
  }

  asking(spec: Input): ProfileBuilder {
    return this.#spec(spec);
  }

  local(local: Input): ProfileBuilder {
    return this.#spec({ local: { ...this.#profile.spec.local, ...local } });
  }

  allowing(overrides: Input): ProfileBuilder {
    return this.local({ overrides });
  }

  /** Only these limits. */
  limited(limits: Input): ProfileBuilder {
    return this.#spec({ limits });
  }

  withoutCollector(): ProfileBuilder {
    return this.local({ collect: 'Disabled' });
  }

  asDefault(): ProfileBuilder {
    const annotations = { [DEFAULT_PROFILE_ANNOTATION]: 'true' };
    return new ProfileBuilder({ ...this.#profile, metadata: { ...this.#profile.metadata, annotations } });
  }

  build(): RuntimeProfile {
    return structuredClone(this.#profile);
  }

  view(): ProfileView {
    return projectProfile(this.build());
  }

  spec(): RuntimeProfileSpec {
    return this.build().spec;
  }
}

/** A profile of the local runtime with an image of its own and no GPU. */
export function aProfile(name = 'cpu'): ProfileBuilder {
  return new ProfileBuilder({
    apiVersion: 'worldflux.ai/v1alpha1',
    kind: 'RuntimeProfile',
    metadata: { name, uid: `uid-${name}`, generation: 1, resourceVersion: '1', creationTimestamp: at(-3600) },
    spec: runtimeProfileSpec.parse({ runtime: 'local', local: { image: IMAGE } }),
  });
}

/** A profile of Replicate with every guard that a profile needs which costs money. */
export function aPaidProfile(name = 'paid'): ProfileBuilder {
  return new ProfileBuilder({
    apiVersion: 'worldflux.ai/v1alpha1',
    kind: 'RuntimeProfile',
    metadata: { name, uid: `uid-${name}`, generation: 1, resourceVersion: '1', creationTimestamp: at(-3600) },
    spec: runtimeProfileSpec.parse({
      runtime: 'replicate',
      replicate: { model: 'acme/wm' },
      credentials: { secretRef: { name: 'replicate' } },
      allowedNamespaces: {},
      limits: { maxCostUSDPerRun: '100', maxRunSeconds: 86_400, maxConcurrentRuns: 10 },
      pricing: { usdPerSecond: '0.001', usdPerRequest: '0.5' },
    }),
  });
}
