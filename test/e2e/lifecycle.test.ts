import { readFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { childName } from '../../src/controller/identity.ts';
import { JOBS, PODS } from '../../src/kube/resource.ts';
import { Repository } from '../../src/runtime/local/testing/git-repository.ts';
import { startGitServer } from '../../src/runtime/local/testing/git-server.ts';
import { temporaryFolder } from '../temporary-folder.ts';
import { condition, SHELL_PROFILE } from './kit.ts';
import { fixture } from './fixture.ts';
import { storedFile } from './store.ts';
import { BUSYBOX_IMAGE } from '../cluster/small-images.ts';

/** Suspend, resume, cancel, delete, retry, adopt: what people and other controllers do to a run and its children. */

const world = fixture('lifecycle');
const repositories = await temporaryFolder('git');
const running = (name: string) => world.kit.until(name, (r) => condition(r, 'Ready')?.reason === 'Running');
const jobsOf = async (uid: string) => {
  const found = [];
  for await (const job of world.kit.client.list(JOBS, {
    namespace: world.kit.namespace,
    labelSelector: `worldflux.ai/run-uid=${uid}`,
  }))
    found.push(job);
  return found;
};

describe.concurrent('a run', () => {
  test('that is suspended ends its attempt without counting it, and resumes with the next', async ({ expect }) => {
    const { kit, profile } = world;
    await kit.apply(kit.shell('pause', profile, 'if [ $WORLDFLUX_ATTEMPT = 1 ]; then sleep 600; fi'));
    await running('pause');
    await kit.patch('pause', { suspend: true });
    const suspended = await kit.until('pause', (r) => r.status?.phase === 'Suspended');
    expect(suspended.status!.attempts).toMatchObject([{ number: 1, reason: 'Suspended', counted: false }]);
    expect(condition(suspended, 'Reconciling')?.status).toBe('True');
    await kit.patch('pause', { suspend: false });
    // Its shell ignores SIGTERM: half a minute is what it gets.
    const done = await kit.finished('pause');
    expect(done.status).toMatchObject({ phase: 'Succeeded', attemptCount: 2 });
    expect(await jobsOf(done.metadata!.uid!)).toHaveLength(1);
  });

  test('that failed for a reason on its list is tried again, and the attempts are all there', async ({ expect }) => {
    const { kit, profile } = world;
    await kit.apply(
      kit.shell('again', profile, 'test $WORLDFLUX_ATTEMPT = 2', {
        retry: { maxAttempts: 3, onReasons: ['NonZeroExit'] },
      }),
    );
    const run = await kit.finished('again');
    expect(run.status).toMatchObject({
      phase: 'Succeeded',
      attemptCount: 2,
      attempts: [
        { number: 1, reason: 'NonZeroExit', exitCode: 1 },
        { number: 2, reason: 'Completed' },
      ],
    });
    expect(run.status!.manifest).toMatchObject({ attempt_count: 2 });
  });

  test('whose Job is deleted by hand ends with ChildDeleted and never gets another', async ({ expect }) => {
    const { kit, profile } = world;
    await kit.apply(kit.shell('orphan', profile, 'sleep 600', { timeouts: { uploadSeconds: 5 } }));
    const run = await running('orphan');
    await kit.client.delete(
      JOBS,
      { namespace: kit.namespace, name: childName({ name: 'orphan', uid: run.metadata!.uid! }, 1) },
      { propagationPolicy: 'Background' },
    );
    const done = await kit.finished('orphan');
    expect(condition(done, 'Succeeded')).toMatchObject({ status: 'False', reason: 'ChildDeleted' });
    expect(await jobsOf(done.metadata!.uid!)).toHaveLength(0);
  });

  test('whose pod is deleted by hand ends with ChildDeleted', async ({ expect }) => {
    const { kit, profile } = world;
    await kit.apply(kit.shell('podless', profile, 'sleep 600', { timeouts: { uploadSeconds: 5 } }));
    const run = await running('podless');
    await kit.cluster.kubectl([
      '-n',
      kit.namespace,
      'delete',
      'pod',
      '-l',
      `worldflux.ai/run-uid=${run.metadata!.uid}`,
      '--wait=false',
    ]);
    expect(condition(await kit.finished('podless'), 'Succeeded')).toMatchObject({ reason: 'ChildDeleted' });
  });

  test('whose pod is evicted ends with Evicted', async ({ expect }) => {
    const { kit, profile } = world;
    await kit.apply(kit.shell('evicted', profile, 'sleep 600', { timeouts: { uploadSeconds: 5 } }));
    const run = await running('evicted');
    for await (const pod of kit.client.list(PODS, {
      namespace: kit.namespace,
      labelSelector: `worldflux.ai/run-uid=${run.metadata!.uid}`,
    })) {
      const name = pod.metadata!.name!;
      const eviction = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { namespace: kit.namespace, name } };
      await kit.cluster.kubectl(
        ['create', '--raw', `/api/v1/namespaces/${kit.namespace}/pods/${name}/eviction`, '-f', '-'],
        { input: JSON.stringify(eviction) },
      );
    }
    expect(condition(await kit.finished('evicted'), 'Succeeded')).toMatchObject({ status: 'False', reason: 'Evicted' });
  });

  test('deleted in the middle of its upload leaves nothing behind that runs', async ({ expect }) => {
    const { kit, profile } = world;
    await kit.apply(
      kit.shell('cut', profile, 'dd if=/dev/zero of=/worldflux/output/big bs=1M count=60 2>/dev/null', {
        timeouts: { uploadSeconds: 60 },
      }),
    );
    const run = await kit.until('cut', (r) => (r.status?.attempts ?? []).length > 0);
    await kit.cluster.kubectl(['-n', kit.namespace, 'delete', 'worldrun', 'cut', '--timeout=60s'], {
      timeoutMs: 70_000,
    });
    await kit.cluster.kubectl(
      [
        '-n',
        kit.namespace,
        'wait',
        '--for=delete',
        'pod',
        '-l',
        `worldflux.ai/run-uid=${run.metadata!.uid}`,
        '--timeout=90s',
      ],
      { timeoutMs: 100_000 },
    );
    expect(await jobsOf(run.metadata!.uid!)).toHaveLength(0);
  });

  test('that has ended creates nothing again, whatever happens to its Job', async ({ expect }) => {
    const { kit, profile } = world;
    await kit.apply(kit.shell('ended', profile, 'true'));
    const run = await kit.finished('ended');
    for (const job of await jobsOf(run.metadata!.uid!)) {
      await kit.client.delete(
        JOBS,
        { namespace: kit.namespace, name: job.metadata!.name! },
        { propagationPolicy: 'Background' },
      );
    }
    await kit.cluster.kubectl(['-n', kit.namespace, 'annotate', 'worldrun', 'ended', 'touched=yes']);
    await world.restart();
    // A later run that has gone all the way shows that the operator has looked at everything.
    await kit.apply(kit.shell('after-ended', profile, 'true'));
    await kit.finished('after-ended');
    expect(await jobsOf(run.metadata!.uid!)).toHaveLength(0);
    expect((await kit.get('ended')).metadata!.resourceVersion).not.toBe(run.metadata!.resourceVersion);
    expect((await kit.get('ended')).status).toEqual(run.status);
  });

  test('with the runKey of a finished run adopts its record, and runs when asked to', async ({ expect }) => {
    const { kit, profile } = world;
    const keyed = (name: string, annotations = {}) =>
      kit.run(
        name,
        {
          runtimeProfileRef: { name: profile },
          runKey: 'seed7',
          command: ['sh', '-c', `echo '{"x": 1}' > /worldflux/output/metrics.json`],
        },
        { annotations },
      );
    await kit.apply(keyed('key-1'));
    const first = await kit.finished('key-1');
    await kit.cluster.kubectl(['-n', kit.namespace, 'delete', 'worldrun', 'key-1']);
    await kit.apply(keyed('key-2'));
    const second = await kit.finished('key-2');
    expect(condition(second, 'Succeeded')).toMatchObject({ status: 'True', reason: 'AlreadyRecorded' });
    expect(second.status!.manifestDigest).toBe(first.status!.manifestDigest);
    expect(await jobsOf(second.metadata!.uid!)).toHaveLength(0);
    await kit.apply(keyed('key-3', { 'worldflux.ai/rerun': first.status!.runId }));
    const third = await kit.finished('key-3');
    expect(condition(third, 'Succeeded')).toMatchObject({ status: 'True', reason: 'Completed' });
    expect(third.status!.clientRunId).toBe(first.status!.clientRunId);
  });

  test('waits while a Job that it did not make has its name', async ({ expect }) => {
    const { kit, profile } = world;
    await kit.apply(kit.shell('taken', profile, 'true', { suspend: true }));
    const run = await kit.until('taken', (r) => r.status?.phase === 'Suspended');
    const name = childName({ name: 'taken', uid: run.metadata!.uid! }, 1);
    await kit.apply({
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name },
      spec: {
        suspend: true,
        template: { spec: { restartPolicy: 'Never', containers: [{ name: 'x', image: BUSYBOX_IMAGE }] } },
      },
    });
    await kit.patch('taken', { suspend: false });
    const waiting = await kit.until('taken', (r) => condition(r, 'Ready')?.reason === 'JobNameTaken');
    expect(condition(waiting, 'Ready')?.message).toContain('was not made by this operator');
    await kit.client.delete(JOBS, { namespace: kit.namespace, name }, { propagationPolicy: 'Background' });
    expect((await kit.finished('taken')).status!.phase).toBe('Succeeded');
  });

  test('is deleted once its time is over', async ({ expect }) => {
    const { kit, profile } = world;
    await kit.apply(kit.shell('brief', profile, 'true', { ttlSecondsAfterFinished: 1 }));
    await kit.cluster.kubectl(['-n', kit.namespace, 'wait', '--for=delete', 'worldrun/brief', '--timeout=60s'], {
      timeoutMs: 70_000,
    });
    expect(true).toBe(true);
  });

  test('with a name of 253 characters runs', async ({ expect }) => {
    const { kit, profile } = world;
    const name = `${'long-name.'.repeat(25)}end`;
    expect(name).toHaveLength(253);
    await kit.apply(kit.shell(name, profile, 'true'));
    expect((await kit.finished(name)).status!.phase).toBe('Succeeded');
  });

  test('over several nodes finds its peers and reports rank 0', async ({ expect }) => {
    const { kit } = world;
    await kit.apply(kit.profile('lifecycle-nodes', { image: BUSYBOX_IMAGE, overrides: { nodes: { max: 3 } } }));
    const script =
      'until nslookup $MASTER_ADDR.cluster.local >/dev/null 2>&1; do sleep 0.2; done; echo "{\\"rank\\": $RANK, \\"world\\": $WORLD_SIZE}" > /worldflux/output/metrics.json';
    await kit.apply(kit.shell('nodes', 'lifecycle-nodes', script, { nodes: 2, timeouts: { runSeconds: 60 } }));
    const run = await kit.finished('nodes');
    expect(run.status).toMatchObject({ phase: 'Succeeded', manifest: { metrics: { rank: 0, world: 2 }, nodes: 2 } });
  });

  test('finds its source from a ConfigMap, read-only, as its working directory', async ({ expect }) => {
    const { kit, profile } = world;
    await kit.apply({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'code' },
      data: { 'run.sh': `echo '{"from": 1}' > "$WORLDFLUX_OUTPUT_DIR/metrics.json"` },
    });
    await kit.apply(
      kit.shell('sourced', profile, 'sh run.sh && ! touch new-file', { source: { configMap: { name: 'code' } } }),
    );
    expect((await kit.finished('sourced')).status).toMatchObject({
      phase: 'Succeeded',
      manifest: { metrics: { from: 1 } },
    });
  });

  test('whose place goes to a pod of higher priority is tried again, and what the first start left is kept', async ({
    expect,
  }) => {
    const { kit, operator } = world;
    const resourceName = 'example.com/contested';
    const priority = 'lifecycle-urgent';
    await kit.cluster.patchNodeCapacity(resourceName, 1);
    await kit.apply(
      { apiVersion: 'scheduling.k8s.io/v1', kind: 'PriorityClass', metadata: { name: priority }, value: 1000 },
      kit.profile('lifecycle-contested', { ...SHELL_PROFILE, gpu: { resourceName, count: 1 } }),
      kit.shell(
        'contested',
        'lifecycle-contested',
        `echo start $WORLDFLUX_ATTEMPT; cd /worldflux/output; echo $WORLDFLUX_ATTEMPT > step.txt
         if [ $WORLDFLUX_ATTEMPT = 1 ]; then trap 'exit 143' TERM; while :; do sleep 0.2; done; fi`,
        { retry: { maxAttempts: 2 }, timeouts: { uploadSeconds: 20 } },
      ),
    );
    await running('contested');
    const limits = { [resourceName]: '1' };
    const container = { name: 'x', image: BUSYBOX_IMAGE, command: ['sleep', '600'], resources: { limits } };
    await kit.apply({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'urgent' },
      spec: { priorityClassName: priority, terminationGracePeriodSeconds: 0, containers: [container] },
    });
    const waiting = await kit.until('contested', (r) => r.status?.attempts?.[0]?.finishedAt !== undefined);
    expect(condition(waiting, 'Ready')).toMatchObject({ reason: 'WaitingForRetry' });
    expect(condition(waiting, 'Ready')?.message).toMatch(/higher priority/);
    await kit.cluster.kubectl(['-n', kit.namespace, 'delete', 'pod', 'urgent']);
    const run = await kit.finished('contested');
    expect(run.status).toMatchObject({
      phase: 'Succeeded',
      attempts: [
        { number: 1, reason: 'Preempted', exitCode: 143 },
        { number: 2, reason: 'Completed', exitCode: 0 },
      ],
      manifest: { attempt_count: 2, attempts: [{ reason: 'Preempted' }, { reason: 'Completed' }] },
    });
    // The log's path names its attempt, and that of the first start lies beside it.
    const last = run.status!.result!.log!.path;
    const first = last.replace('/attempts/2/', '/attempts/1/');
    const text = (path: string) => readFile(storedFile(operator.storeDir, path), 'utf8');
    expect(await text(first)).toContain('start 1');
    expect(await text(last)).toContain('start 2');
  });

  test('fetches its source from git with the password of a Secret, and its manifest has the commit', async ({
    expect,
    onTestFinished,
  }) => {
    const { kit, profile } = world;
    const script = `echo '{"from": 2}' > "$WORLDFLUX_OUTPUT_DIR/metrics.json"`;
    const repository = new Repository(join(repositories, 'team/project.git'));
    const commit = repository.commit({ 'code/run.sh': script, 'other/file': 'x' });
    const wanted = `Basic ${Buffer.from('git:correct-horse').toString('base64')}`;
    const askForPassword = ({ headers }: IncomingMessage, response: ServerResponse): boolean => {
      if (headers.authorization === wanted) return false;
      response.writeHead(401, { 'www-authenticate': 'Basic realm="git"' }).end();
      return true;
    };
    const server = await startGitServer(repositories, askForPassword, kit.cluster.hostAddress);
    onTestFinished(() => server.close());
    const ca = { 'ca.crt': server.ca };
    const secret = { apiVersion: 'v1', kind: 'Secret' };
    await kit.apply(
      { ...secret, metadata: { name: 'git' }, stringData: { ...ca, password: 'correct-horse' } },
      { ...secret, metadata: { name: 'git-stranger' }, stringData: ca },
    );
    const git = { url: `${server.origin}/team/project.git`, ref: 'main', path: 'code', secretRef: { name: 'git' } };
    const stranger = { ...git, secretRef: { name: 'git-stranger' } };
    await kit.apply(kit.shell('no-password', profile, 'true', { source: { git: stranger } }));
    await kit.apply(
      kit.shell('from-git', profile, 'sh run.sh && ! touch new-file 2>/dev/null && ls -A', { source: { git } }),
    );
    const { status } = await kit.finished('from-git');
    expect(status).toMatchObject({ phase: 'Succeeded', manifest: { metrics: { from: 2 } } });
    expect(JSON.stringify(status!.manifest)).toContain(commit);
    const log = await readFile(storedFile(world.operator.storeDir, status!.result!.log!.path), 'utf8');
    expect(log.trim()).toBe('run.sh');
    const refused = await kit.finished('no-password');
    expect(condition(refused, 'Succeeded')).toMatchObject({ status: 'False', reason: 'SourceFailed' });
    expect(condition(refused, 'Succeeded')?.message).toMatch(/credentials|password|username/i);
  });

  test('has what its profile gives it: shared memory, a cache that stays, a user without rights and without a token', async ({
    expect,
  }) => {
    const { kit } = world;
    const claim = (name: string) => ({
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '64Mi' } } },
    });
    await kit.apply(claim('model-cache'), claim('data'));
    const local = {
      image: BUSYBOX_IMAGE,
      shmSize: '128Mi',
      cache: { persistentVolumeClaim: 'model-cache' },
      overrides: { volumes: ['persistentVolumeClaim'] },
    };
    await kit.apply(kit.profile('lifecycle-rich', local));
    const first = [
      'set -e',
      'test "$(id -u)" = 10001',
      'test ! -e /var/run/secrets/kubernetes.io',
      'touch "$HOME/x" /data/x',
      'mkdir -p "$HF_HOME" && echo kept > "$HF_HOME/model"',
      // More than the 64 MiB that a container has otherwise.
      'dd if=/dev/zero of=/dev/shm/x bs=1M count=100',
    ];
    const volumes = [{ name: 'data', mountPath: '/data', persistentVolumeClaim: { claimName: 'data' } }];
    await kit.apply(kit.shell('rich-1', 'lifecycle-rich', first.join('; '), { volumes }));
    expect(condition(await kit.finished('rich-1'), 'Succeeded')).toMatchObject({ status: 'True' });
    const readOnly = [
      { name: 'data', mountPath: '/data', persistentVolumeClaim: { claimName: 'data', readOnly: true } },
    ];
    const second = 'grep kept "$HF_HOME/model" && test -e /data/x && ! touch /data/y';
    await kit.apply(kit.shell('rich-2', 'lifecycle-rich', second, { volumes: readOnly }));
    expect(condition(await kit.finished('rich-2'), 'Succeeded')).toMatchObject({ status: 'True' });
  });

  test('goes with its namespace', async ({ expect }) => {
    const { kit, profile } = world;
    await kit.ensureNamespace('lifecycle-gone');
    const object = kit.shell('doomed', profile, 'sleep 600', { timeouts: { uploadSeconds: 5 } });
    await kit.cluster.kubectl(['apply', '-n', 'lifecycle-gone', '-f', '-'], { input: JSON.stringify(object) });
    await kit.cluster.kubectl(
      ['wait', '-n', 'lifecycle-gone', '--for=jsonpath={.status.phase}=Running', 'worldrun/doomed', '--timeout=60s'],
      { timeoutMs: 70_000 },
    );
    await kit.cluster.kubectl(['delete', 'namespace', 'lifecycle-gone', '--timeout=90s'], { timeoutMs: 100_000 });
    expect(true).toBe(true);
  });
});
