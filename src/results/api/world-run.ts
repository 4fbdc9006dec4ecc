import { GROUP, VERSION } from '../../crds/common.ts';
import type { WorldRunSpec } from '../../crds/world-run.ts';
import type { WorldRunStatus } from '../../crds/world-run-status.ts';
import { resourceType, type KubeObject } from '../../kube/resource.ts';

export interface WorldRun extends KubeObject {
  spec: WorldRunSpec;
  status?: WorldRunStatus;
}

export const WORLD_RUNS = resourceType<WorldRun>({
  group: GROUP,
  version: VERSION,
  plural: 'worldruns',
  namespaced: true,
  kind: 'WorldRun',
});
