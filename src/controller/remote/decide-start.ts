import type { WaitingReason } from '../../crds/vocabulary.ts';
import type { Decision } from '../run/decision.ts';
import type { World } from '../run/world.ts';
import type { PlanRefusal } from '../../runtime/contract.ts';
import { recordIntent } from './decide-submit.ts';
import type { VendorWorld } from './world.ts';

/** What a vendor run needs beside what every run needs, before its intent. Pure. */

type Hold = (reason: WaitingReason, message: string, againMs?: number) => Decision;

/** Before a place is asked for: its files are read, and its plan is one that the vendor can do. */
export function planVendor(world: World, vendor: VendorWorld): Decision | PlanRefusal | undefined {
  const { files } = world.memory.vendor;
  if (files !== undefined && 'problem' in files && world.now - files.at < FILES_AGAIN_MS) return undefined;
  if (vendor.plan === undefined) return { do: 'readFiles' };
  return vendor.plan.ok ? undefined : vendor.plan;
}
const FILES_AGAIN_MS = 15_000;

/** Its files cannot be had, so that it has no plan; they are looked for again. */
export function lacksFiles(world: World, hold: Hold): Decision | undefined {
  const { files } = world.memory.vendor;
  if (files === undefined || !('problem' in files)) return undefined;
  return hold('SecretMissing', files.problem, Math.max(1000, files.at + FILES_AGAIN_MS - world.now));
}

/** With a place: the last steps before money is spent. */
export function startVendor(world: World, vendor: VendorWorld, number: number, hold: Hold): Decision {
  const memory = world.memory.vendor;
  const lacking = lacksFiles(world, hold);
  if (lacking !== undefined) return lacking;
  if (!vendor.access.ready) return hold('CredentialsMissing', vendor.access.message, 30_000);
  if (vendor.degraded !== undefined) return hold('ProfileDegraded', vendor.degraded, 30_000);
  // After a restart between two attempts.
  if (vendor.plan === undefined) return { do: 'readFiles' };
  const { pause } = memory;
  if (pause !== undefined && pause.until > world.now)
    return hold('VendorUnavailable', pause.message, pause.until - world.now);
  if (vendor.traits.paid && !world.run.hasFinalizer) return { do: 'addFinalizer' };
  if (vendor.plan.ok && memory.prepared !== vendor.plan.requestDigest) return { do: 'prepareWork' };
  return recordIntent(world, vendor, number);
}
