import { createHash } from 'node:crypto';
import { runtimeProfileSpec } from '../../crds/runtime-profile.ts';
import { worldRunSpec } from '../../crds/world-run.ts';
import type { ProfileRef, RuntimeContext } from '../contract.ts';

type Input = Record<string, unknown>;

/** A profile as its CRD would hold it. */
export const aProfileRef = (spec: Input): ProfileRef => ({
  name: 'profile',
  digest: `sha256:${'0'.repeat(64)}`,
  spec: runtimeProfileSpec.parse(spec),
});

/** The first attempt of a run that asks for `spec`, with files by their path. */
export const aContext = (spec: Input, profile: ProfileRef, files: Record<string, string> = {}): RuntimeContext => ({
  installationId: '0d6f7f1e-3f5c-5f0e-9d2b-0c7c3f1f2f57',
  clientRunId: 'c11e9c1a-0000-4000-8000-000000000001',
  runId: '20261120T100000Z-00000001',
  namespace: 'team',
  name: 'run',
  uid: '5b1e9c1a-0000-4000-8000-000000000001',
  attempt: 1,
  spec: worldRunSpec.parse(spec),
  profile,
  files: new Map(
    Object.entries(files).map(([path, text]) => [
      path,
      { sha256: createHash('sha256').update(text).digest('hex'), bytes: Buffer.from(text) },
    ]),
  ),
});
