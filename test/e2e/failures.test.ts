import { describe, test } from 'vitest';
import type { WorldRun } from '../../src/controller/run/view.ts';
import { condition } from './kit.ts';
import { fixture } from './fixture.ts';
import { BUSYBOX_IMAGE } from '../cluster/small-images.ts';

/** Runs that go wrong, each in its own way: the reason and the words that a person gets. */

const world = fixture('failures');
const said = (run: WorldRun, type = 'Succeeded') => condition(run, type);

describe.concurrent('a run fails with the reason', () => {
  test('NonZeroExit and its code', async ({ expect }) => {
    const { kit, profile } = world;
    await kit.apply(kit.shell('exit-3', profile, 'echo bad >&2; exit 3'));
    const run = await kit.finished('exit-3');
    expect(said(run)).toMatchObject({ status: 'False', reason: 'NonZeroExit', message: 'The command exited with 3.' });
    expect(run.status).toMatchObject({
      phase: 'Failed',
      result: { exitCode: 3 },
      attempts: [{ number: 1, exitCode: 3, reason: 'NonZeroExit' }],
    });
    expect(said(run, 'Stalled')?.status).toBe('True');
    expect(said(run, 'ResultsStored')?.status).toBe('True');
  });

  test('OOMKilled when it uses up its memory', async ({ expect }) => {
    const { kit } = world;
    await kit.apply(kit.profile('failures-small', { image: BUSYBOX_IMAGE, resources: { limits: { memory: '24Mi' } } }));
    await kit.apply(kit.shell('oom', 'failures-small', 'tail /dev/zero'));
    expect(said(await kit.finished('oom'))).toMatchObject({
      reason: 'OOMKilled',
      message: expect.stringContaining('memory'),
    });
  });

  test('CommandNotFound when the image does not have the command', async ({ expect }) => {
    const { kit, profile } = world;
    await kit.apply(kit.run('no-command', { runtimeProfileRef: { name: profile }, command: ['/no/such/thing'] }));
    expect(said(await kit.finished('no-command'))).toMatchObject({
      reason: 'CommandNotFound',
      message: expect.stringContaining('/no/such/thing'),
    });
  });

  test('ImagePullFailed when the image does not exist, after saying so while it waited', async ({ expect }) => {
    const { kit } = world;
    await kit.apply(kit.profile('failures-image', { image: 'localhost/no/such/image:1' }));
    await kit.apply(kit.shell('no-image', 'failures-image', 'true', { timeouts: { startupSeconds: 45 } }));
    const waiting = await kit.until('no-image', (r) => said(r, 'Ready')?.reason === 'ImagePullBackOff');
    expect(said(waiting, 'Ready')?.message).toMatch(/localhost\/no\/such\/image/);
    expect(said(await kit.finished('no-image'))).toMatchObject({ reason: 'ImagePullFailed' });
  });

  test('InvalidImageName at once', async ({ expect }) => {
    const { kit } = world;
    await kit.apply(kit.profile('failures-name', { overrides: { image: { allowed: ['*'] } } }));
    await kit.apply(kit.shell('bad-name', 'failures-name', 'true', { image: 'UPPER/Case:1' }));
    expect(said(await kit.finished('bad-name'))).toMatchObject({ reason: 'InvalidImageName' });
  });

  test('RunDeadlineExceeded, with the results so far', async ({ expect }) => {
    const { kit, profile } = world;
    await kit.apply(
      kit.shell('slow', profile, `echo '{"step": 9}' > /worldflux/output/metrics.json; sleep 600`, {
        timeouts: { runSeconds: 4, uploadSeconds: 30 },
      }),
    );
    const run = await kit.finished('slow');
    expect(said(run)).toMatchObject({ reason: 'RunDeadlineExceeded' });
    expect(run.status!.manifest).toMatchObject({ metrics: { step: 9 }, status: 'failed' });
  });

  test('QueueDeadlineExceeded when nobody has the GPU, after saying Unschedulable', async ({ expect }) => {
    const { kit } = world;
    await kit.apply(
      kit.profile('failures-gpu', { image: BUSYBOX_IMAGE, gpu: { resourceName: 'example.com/gpu', count: 1 } }),
    );
    await kit.apply(kit.shell('no-gpu', 'failures-gpu', 'true', { timeouts: { queueSeconds: 12 } }));
    const waiting = await kit.until('no-gpu', (r) => said(r, 'Ready')?.reason === 'Unschedulable', 20);
    expect(said(waiting, 'Ready')?.message).toContain('Insufficient example.com/gpu');
    expect(said(await kit.finished('no-gpu'))).toMatchObject({ reason: 'QueueDeadlineExceeded' });
  });

  test('StartupDeadlineExceeded when a Secret is missing, after naming it', async ({ expect }) => {
    const { kit } = world;
    await kit.apply(
      kit.profile(
        'failures-secret',
        { image: BUSYBOX_IMAGE },
        { providerEnv: [{ name: 'HF_TOKEN', secretKeyRef: { name: 'huggingface', key: 'token' } }] },
      ),
    );
    await kit.apply(
      kit.shell('no-secret', 'failures-secret', 'true', {
        forwardProviderEnv: ['HF_TOKEN'],
        timeouts: { startupSeconds: 40 },
      }),
    );
    const waiting = await kit.until('no-secret', (r) => said(r, 'Ready')?.reason === 'SecretMissing');
    expect(said(waiting, 'Ready')?.message).toContain('huggingface');
    expect(said(await kit.finished('no-secret'))).toMatchObject({ reason: 'StartupDeadlineExceeded' });
  });

  test('OutputTooLarge when it fills the disk', async ({ expect }) => {
    const { kit } = world;
    await kit.apply(kit.profile('failures-disk', { image: BUSYBOX_IMAGE, outputSizeLimit: '8Mi' }));
    await kit.apply(
      kit.shell(
        'disk',
        'failures-disk',
        'dd if=/dev/zero of=/worldflux/output/x bs=1M count=40 2>/dev/null; sleep 300',
      ),
    );
    const run = await kit.finished('disk', 200);
    expect(said(run)).toMatchObject({ reason: 'OutputTooLarge' });
  });
});

describe.concurrent('a run waits', () => {
  test('for a profile that does not exist yet, and starts when it does', async ({ expect }) => {
    const { kit } = world;
    await kit.apply(kit.shell('early', 'failures-late', 'true'));
    const waiting = await kit.until('early', (r) => said(r, 'Ready')?.reason === 'ProfileNotFound');
    expect(said(waiting, 'Ready')?.message).toContain('there is no RuntimeProfile failures-late');
    await kit.apply(kit.profile('failures-late', { image: BUSYBOX_IMAGE }));
    expect(said(await kit.finished('early'))?.status).toBe('True');
  });

  test('while the profile’s doctor has an error, and starts when it is mended', async ({ expect }) => {
    const { kit } = world;
    await kit.apply(kit.profile('failures-sick', { image: 'NOT AN IMAGE' }));
    await kit.apply(kit.shell('patient', 'failures-sick', 'true'));
    const waiting = await kit.until('patient', (r) => said(r, 'Ready')?.reason === 'ProfileNotReady');
    expect(said(waiting, 'Ready')?.message).toContain('is no image reference');
    await kit.apply(kit.profile('failures-sick', { image: BUSYBOX_IMAGE }));
    expect(said(await kit.finished('patient'))?.status).toBe('True');
  });

  test('its turn when the profile allows one at a time', async ({ expect }) => {
    const { kit } = world;
    await kit.apply(kit.profile('failures-one', { image: BUSYBOX_IMAGE }, { limits: { maxConcurrentRuns: 1 } }));
    await kit.apply(kit.shell('turn-1', 'failures-one', 'sleep 5'));
    await kit.until('turn-1', (r) => said(r, 'Admitted')?.status === 'True');
    await kit.apply(kit.shell('turn-2', 'failures-one', 'true'));
    await kit.until('turn-2', (r) => said(r, 'Ready')?.reason === 'ConcurrencyLimit');
    const [first, second] = await Promise.all([kit.finished('turn-1'), kit.finished('turn-2')]);
    expect(Date.parse(second.status!.attempts![0]!.startedAt!)).toBeGreaterThanOrEqual(
      Date.parse(first.status!.attempts![0]!.finishedAt!) - 1000,
    );
  });
});

describe.concurrent('a run is refused', () => {
  test('for an environment variable outside the allowlist, and says what is allowed', async ({ expect }) => {
    const { kit, profile } = world;
    await kit.apply(kit.shell('env', profile, 'true', { forwardProviderEnv: ['AWS_SECRET_ACCESS_KEY'] }));
    const run = await kit.until('env', (r) => r.status?.phase === 'Refused');
    expect(said(run, 'Stalled')).toMatchObject({
      status: 'True',
      reason: 'EnvNotAllowed',
      message: expect.stringContaining('AWS_SECRET_ACCESS_KEY'),
    });
  });

  test('in a namespace that the profile does not serve', async ({ expect }) => {
    const { kit } = world;
    await kit.apply(
      kit.profile(
        'failures-closed',
        { image: BUSYBOX_IMAGE },
        { allowedNamespaces: { matchLabels: { team: 'robotics' } } },
      ),
    );
    await kit.apply(kit.shell('outsider', 'failures-closed', 'true'));
    const run = await kit.until('outsider', (r) => r.status?.phase === 'Refused');
    expect(said(run, 'Admitted')).toMatchObject({ status: 'False', reason: 'NamespaceNotAllowed' });
  });
});
