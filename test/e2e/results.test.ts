import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { digestOf, manifestSchema, type Manifest } from '../../src/crds/manifest.ts';
import { BUSYBOX_IMAGE } from '../cluster/small-images.ts';
import { condition } from './kit.ts';
import { fixture } from './fixture.ts';
import { storedFile } from './store.ts';

/** What comes back from a run, with real Pods, a real collector and a real gateway. */

const world = fixture('results');
const inOutput = (script: string) => `cd /worldflux/output && ${script}`;

describe.concurrent('a run', () => {
  test('leaves its metrics, series, log and artifacts, and a manifest that anybody can check', async ({ expect }) => {
    const { kit, profile, operator } = world;
    await kit.apply(
      kit.shell(
        'everything',
        profile,
        inOutput(
          `echo hello; echo '{"loss": 0.25, "steps": 3}' > metrics.json; echo '{"step":1,"name":"loss","value":0.5}' > metrics.jsonl; mkdir ckpt; echo a > ckpt/a; echo b > ckpt/b; echo video > rollout.mp4`,
        ),
        {
          task: 'rollout',
          env: [{ name: 'SEED', value: '7' }],
          outputs: {
            artifacts: [
              { name: 'checkpoint', path: 'ckpt/**', commit: true },
              { name: 'video', path: 'rollout.mp4' },
            ],
          },
        },
      ),
    );
    const run = await kit.finished('everything');
    expect(condition(run, 'Succeeded')).toMatchObject({ status: 'True', reason: 'Completed' });
    expect(condition(run, 'ResultsStored')).toMatchObject({ status: 'True', reason: 'Stored' });
    const manifest = manifestSchema.parse(run.status!.manifest) satisfies Manifest;
    expect(manifest.metrics).toEqual({ loss: 0.25, steps: 3 });
    expect(manifest).toMatchObject({
      status: 'succeeded',
      exit_code: 0,
      task: 'rollout',
      runtime_name: 'local',
      environment: [{ name: 'SEED', source: 'literal' }],
    });
    expect(digestOf(run.status!.manifest)).toBe(run.status!.manifestDigest);
    expect(run.status!.artifacts).toMatchObject([
      { name: 'checkpoint', state: 'Stored', count: 2, commit: true },
      { name: 'video', state: 'Stored', sizeBytes: 6, commit: false },
    ]);
    const log = await readFile(storedFile(operator.storeDir, run.status!.result!.log!.path), 'utf8');
    expect(log).toContain('hello');
    const record = JSON.parse(await readFile(storedFile(operator.storeDir, run.status!.manifestPath!), 'utf8')) as {
      manifest: unknown;
    };
    expect(digestOf(record.manifest)).toBe(run.status!.manifestDigest);
    expect(join(operator.storeDir)).toBeTruthy();
  });

  test.for<[string, string, { metrics: object; words: RegExp }]>([
    ['no metrics', 'true', { metrics: {}, words: /./ }],
    ['NaN', `printf '{"loss": NaN, "ok": 1}' > metrics.json`, { metrics: { ok: 1 }, words: /loss|finite|NaN/i }],
    ['text', `echo not json > metrics.json`, { metrics: {}, words: /JSON/i }],
    ['an array', `echo '[1,2]' > metrics.json`, { metrics: {}, words: /object/i }],
    ['50 MB', `dd if=/dev/zero of=metrics.json bs=1M count=50 2>/dev/null`, { metrics: {}, words: /large|bytes|MiB/i }],
  ])(
    'that writes %s as its metrics still ends well, and says what was wrong',
    async ([name, script, { metrics, words }], { expect }) => {
      const { kit, profile } = world;
      const id = `metrics-${name.toLowerCase().replaceAll(' ', '-')}`;
      await kit.apply(kit.shell(id, profile, inOutput(script)));
      const run = await kit.finished(id);
      expect(condition(run, 'Succeeded')?.status).toBe('True');
      expect((run.status!.manifest as Manifest).metrics).toEqual(metrics);
      expect(condition(run, 'ResultsStored')?.message).toMatch(words);
    },
  );

  test('cannot smuggle anything out of its folder, and loses nothing else for trying', async ({ expect }) => {
    const { kit } = world;
    const limits = { limits: { maxArtifactBytes: '1Mi' } };
    await kit.apply(kit.profile('results-small', { image: BUSYBOX_IMAGE, outputSizeLimit: '64Mi' }, limits));
    await kit.apply(
      kit.shell(
        'hostile',
        'results-small',
        inOutput(
          `ln -s /etc/passwd link; mkfifo pipe; mkdir d; echo fine > d/fine; ln -s /etc d/out; dd if=/dev/zero of=big bs=1M count=3 2>/dev/null`,
        ),
        {
          outputs: {
            artifacts: [
              { name: 'link', path: 'link' },
              { name: 'pipe', path: 'pipe' },
              { name: 'folder', path: 'd' },
              { name: 'missing', path: 'nothing-here' },
              { name: 'big', path: 'big' },
            ],
          },
        },
      ),
    );
    const run = await kit.finished('hostile');
    expect(condition(run, 'Succeeded')?.status).toBe('True');
    expect(condition(run, 'ResultsStored')).toMatchObject({ status: 'False', reason: 'PartlyStored' });
    const states = Object.fromEntries(run.status!.artifacts!.map((a) => [a.name, a.state]));
    expect(states).toMatchObject({ folder: 'Stored', missing: 'Missing', big: 'Refused' });
    expect(['Refused', 'Skipped']).toContain(states['link']);
    expect(['Refused', 'Skipped']).toContain(states['pipe']);
    expect(run.status!.artifacts!.find((a) => a.name === 'folder')).toMatchObject({ count: 1 });
  });

  test('with ten thousand small files keeps them as one artifact', async ({ expect }) => {
    const { kit, profile } = world;
    await kit.apply(
      kit.shell(
        'many-files',
        profile,
        inOutput(`mkdir m; i=0; while [ $i -lt 10000 ]; do echo $i > m/$i; i=$((i+1)); done`),
        { outputs: { artifacts: [{ name: 'many', path: 'm' }] } },
      ),
    );
    const run = await kit.finished('many-files', 200);
    expect(run.status!.artifacts).toMatchObject([{ name: 'many', state: 'Stored', count: 10_000 }]);
  });

  test('that ignores SIGTERM and is cancelled keeps what it had', async ({ expect }) => {
    const { kit, profile } = world;
    await kit.apply(
      kit.shell(
        'stubborn',
        profile,
        inOutput(`trap '' TERM; echo '{"step": 5}' > metrics.json; echo kept > kept.txt; while :; do sleep 1; done`),
        { timeouts: { uploadSeconds: 20 } },
      ),
    );
    await kit.until('stubborn', (r) => condition(r, 'Ready')?.reason === 'Running');
    await kit.patch('stubborn', { cancel: true });
    const run = await kit.finished('stubborn', 60);
    expect(run.status!.phase).toBe('Cancelled');
    expect(condition(run, 'Ready')).toMatchObject({ status: 'True', reason: 'Cancelled' });
    expect((run.status!.manifest as Manifest).metrics).toEqual({ step: 5 });
    expect(run.status!.artifacts?.[0]?.state).toBe('Stored');
  });
});
