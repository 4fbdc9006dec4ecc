import { digestOf } from './manifest.ts';
import { MUTABLE_FIELDS, type WorldRunSpec } from './world-run.ts';

/** What a run was asked to do. Suspending it or a new TTL, which may come at any time, makes it no other run. */
export function inputDigest(spec: WorldRunSpec): string {
  const fixed = Object.entries(spec).filter(([field]) => !(MUTABLE_FIELDS as readonly string[]).includes(field));
  return digestOf(Object.fromEntries(fixed));
}
