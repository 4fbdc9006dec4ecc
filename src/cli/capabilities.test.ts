import { expect, test } from 'vitest';
import { RUNTIME_NAMES } from '../crds/vocabulary.ts';
import { makeVendors } from '../runtime/vendors.ts';
import { RUNTIME_CAPABILITIES } from './capabilities.ts';

test('what the CLI says of a runtime is what the operator’s runtime says of itself', () => {
  const vendors = new Map(makeVendors().map(({ name, traits }) => [name, [...traits.capabilities].toSorted()]));
  expect([...vendors.keys(), 'local'].toSorted()).toEqual([...RUNTIME_NAMES].toSorted());
  for (const [name, capabilities] of vendors)
    expect([...RUNTIME_CAPABILITIES[name]].toSorted(), name).toEqual(capabilities);
});
