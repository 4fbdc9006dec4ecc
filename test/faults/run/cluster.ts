import type { Cluster } from '../../../src/controller/run/ports.ts';
import { fails, type ApiServer } from './api-server.ts';
import type { Calls } from './faults.ts';

/** The API server as the controller sees it, every call through `calls`. */
export function clusterOn(api: ApiServer, calls: Calls): Cluster {
  return {
    applyRunStatus: (run, status) => {
      const ready = status.conditions?.find((c) => c.type === 'Ready')?.reason;
      return calls.do(`status ${run.name} ${ready}`, () => api.applyStatus(run, status));
    },
    deleteRun: (run) =>
      calls.do(`delete run ${run.name}`, () => {
        api.expect('runs', run);
        api.remove('runs', `${run.namespace}/${run.name}`);
      }),
    setFinalizer: (run, present) =>
      calls.do(`${present ? 'add' : 'remove'} finalizer`, () => api.setFinalizer(run, present)),
    readConfigMap: () =>
      calls.do('read configmap', () => {
        throw fails({ kind: 'notFound' }, 'configmap not found');
      }),
    createJob: (job) => calls.do('create job', () => api.create('jobs', job)),
    readJob: (ref) =>
      calls.do('read job', () => {
        const found = api.get('jobs', `${ref.namespace}/${ref.name}`);
        if (found === undefined) throw fails({ kind: 'notFound' }, `job ${ref.name} not found`);
        return found;
      }),
    readPods: ({ namespace, uid }) =>
      calls.do('read pods', () =>
        api
          .list('pods')
          .filter((p) => p.metadata?.namespace === namespace && p.metadata.ownerReferences?.[0]?.uid === uid),
      ),
    deleteJob: (job) =>
      calls.do('delete job', () => {
        api.expect('jobs', job);
        api.remove('jobs', `${job.namespace}/${job.name}`);
      }),
    createService: (service) => calls.do('create service', () => void api.create('services', service)),
    hastenPod: (pod) =>
      calls.do('hasten pod', () => {
        if (api.expect('pods', pod).metadata?.deletionTimestamp !== undefined) return;
        api.update(
          'pods',
          `${pod.namespace}/${pod.name}`,
          (each) => (each.metadata!.deletionTimestamp = new Date(0).toISOString()),
        );
      }),
    forceDeletePod: (pod) =>
      calls.do('force-delete pod', () => {
        api.expect('pods', pod);
        api.remove('pods', `${pod.namespace}/${pod.name}`);
      }),
    createPin: (pin) => calls.do('create pin', () => api.create('pins', pin)),
    deletePin: (pin) => calls.do('delete pin', () => api.remove('pins', `${pin.namespace}/${pin.name}`)),
    jobTrouble: () => calls.do('read events', () => ''),
    podTrouble: () => calls.do('read events', () => ''),
  };
}
