import { GROUP, VERSION } from '../crds/common.ts';
import type { RuntimeProfileSpec, RuntimeProfileStatus } from '../crds/runtime-profile.ts';
import { resourceType, type KubeObject } from '../kube/resource.ts';

export interface RuntimeProfile extends KubeObject {
  spec: RuntimeProfileSpec;
  status?: RuntimeProfileStatus;
}

export const RUNTIME_PROFILES = resourceType<RuntimeProfile>({
  group: GROUP,
  version: VERSION,
  plural: 'runtimeprofiles',
  namespaced: false,
  kind: 'RuntimeProfile',
});
