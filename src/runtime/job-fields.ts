import type { WorldRunSpec } from '../crds/world-run.ts';
import type { PlanRefusal } from './contract.ts';

/** Fields of a run that only a Job can honour, each with whether the run sets it. */
const JOB_FIELDS: readonly (readonly [field: string, isSet: (run: WorldRunSpec) => boolean])[] = [
  ['image', (run) => run.image !== undefined],
  ['command', (run) => run.command !== undefined],
  ['args', (run) => run.args !== undefined],
  ['workingDir', (run) => run.workingDir !== undefined],
  ['env', (run) => (run.env ?? []).length > 0],
  ['forwardProviderEnv', (run) => (run.forwardProviderEnv ?? []).length > 0],
  ['nodes', (run) => run.nodes > 1],
  ['resources', (run) => run.resources !== undefined],
  ['nodeSelector', (run) => run.nodeSelector !== undefined],
  ['queueName', (run) => run.queueName !== undefined],
  ['volumes', (run) => (run.volumes ?? []).length > 0],
  ['source.git', (run) => run.source?.git !== undefined],
];

/** A run of a runtime that is no Job: the first field that it sets and nothing would honour. */
export function refuseJobFields(run: WorldRunSpec, runtime: string): PlanRefusal | undefined {
  const found = JOB_FIELDS.find(([, isSet]) => isSet(run));
  if (found === undefined) return undefined;
  return {
    ok: false,
    reason: 'FieldNotSupported',
    message: `spec.${found[0]}: runtime ${runtime} runs no container; leave the field out, or use a profile of runtime local`,
  };
}
