import type { Capability, RuntimeName } from '../crds/vocabulary.ts';

/** What each runtime can be asked for. `any`: whatever the profile's image does, which nobody here can know. */
export const RUNTIME_CAPABILITIES: Readonly<Record<RuntimeName, readonly Capability[] | 'any'>> = {
  local: 'any',
  replicate: ['generate', 'predict', 'reason', 'embed', 'transfer'],
  mock: ['predict', 'generate', 'reason', 'embed', 'transfer'],
  genie: [],
};

export function canDo(runtime: RuntimeName, capability: Capability): boolean {
  const known = RUNTIME_CAPABILITIES[runtime];
  return known === 'any' || known.includes(capability);
}

export const wordsFor = (runtime: RuntimeName): string => {
  const known = RUNTIME_CAPABILITIES[runtime];
  return known === 'any' ? 'whatever its images do' : known.length === 0 ? 'nothing yet' : known.join(', ');
};
