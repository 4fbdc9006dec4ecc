import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DEPLOYMENT, VERSION } from '../../../test/fakes/replicate/server.ts';
import { runtimeProfileSpec } from '../../crds/runtime-profile.ts';
import { plan, requestDigest, type PredictionRequest } from './plan.ts';
import { targetOf } from './target.ts';
import { aContext, aProfile, aVendor, listed, MODEL_BLOCK } from './testing/a-vendor.ts';

const planned = (spec: Record<string, unknown>, files: Record<string, string> = {}, replicate = {}) =>
  plan(aContext(aProfile({ ...MODEL_BLOCK, ...replicate }), spec, files));

describe('a plan', () => {
  test('says what will be made and until when', () => {
    const made = planned({ request: { prompt: 'x' }, timeouts: { startupSeconds: 100, runSeconds: 200 } });
    expect(made).toMatchObject({ ok: true, deadlineSeconds: 300 });
    expect(made.ok && made.creates).toEqual([
      'a prediction with model acme/dreamer, ended by Replicate after 300 s at the latest',
    ]);
  });

  test('has a deadline that the vendor takes, however short the run', () => {
    expect(planned({ request: {}, timeouts: { startupSeconds: 1, runSeconds: 1 } })).toMatchObject({
      deadlineSeconds: 5,
    });
  });

  test('lets options win over the prompt', () => {
    const made = planned({ request: { prompt: 'a', options: { prompt: 'b', seed: 7 } } });
    expect(made.ok && (made.request as PredictionRequest).input).toEqual({ prompt: 'b', seed: 7 });
  });

  test('is the same for the same request, and another for another target, input or file', () => {
    const spec = {
      request: { options: { seed: 7, size: 'L' }, files: [{ input: 'image', path: 'a.png' }] },
      source: { configMap: { name: 'inputs' } },
    };
    const reordered = { ...spec, request: { ...spec.request, options: { size: 'L', seed: 7 } } };
    const digest = (made: ReturnType<typeof plan>) => (made.ok ? made.requestDigest : made.message);
    const one = digest(planned(spec, { 'a.png': 'pixels' }));
    expect(one).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(digest(planned(reordered, { 'a.png': 'pixels' }))).toBe(one);
    const others = [
      digest(planned(spec, { 'a.png': 'other pixels' })),
      digest(
        planned({ ...spec, request: { ...spec.request, options: { seed: 8, size: 'L' } } }, { 'a.png': 'pixels' }),
      ),
      digest(planned(spec, { 'a.png': 'pixels' }, { model: undefined, deployment: DEPLOYMENT })),
      digest(planned(spec, { 'a.png': 'pixels' }, { model: undefined, version: VERSION })),
    ];
    expect(new Set([one, ...others]).size).toBe(5);
  });

  const configMap = { source: { configMap: { name: 'inputs' } } };
  const image = { files: [{ input: 'image', path: 'a.png' }] };
  test.each<[string, Record<string, unknown>, string]>([
    ['an image', { image: 'ghcr.io/acme/wm:1' }, 'spec.image'],
    ['a command', { command: ['python'] }, 'spec.command'],
    ['arguments', { args: ['-v'] }, 'spec.args'],
    ['a working directory', { workingDir: '/x' }, 'spec.workingDir'],
    ['variables', { env: [{ name: 'A', value: '1' }] }, 'spec.env'],
    ['forwarded variables', { forwardProviderEnv: ['HF_TOKEN'] }, 'spec.forwardProviderEnv'],
    ['more nodes', { nodes: 2 }, 'spec.nodes'],
    ['resources', { resources: { gpu: 1 } }, 'spec.resources'],
    ['a node selector', { nodeSelector: { a: 'b' } }, 'spec.nodeSelector'],
    ['a queue', { queueName: 'q' }, 'spec.queueName'],
    ['volumes', { volumes: [{ name: 'd', mountPath: '/d', configMap: { name: 'c' } }] }, 'spec.volumes'],
    ['a git source', { source: { git: { url: 'https://git.example/x' } } }, 'spec.source.git'],
    ['a source that nothing reads', configMap, 'spec.source'],
    ['no request', { request: undefined }, 'spec.request'],
    ['files without a source', { request: image }, 'spec.request.files'],
    ['a file that is not there', { ...configMap, request: image }, 'spec.request.files'],
    [
      'an input twice',
      { ...configMap, request: { options: { image: 'x' }, files: [{ input: 'image', path: 'there.png' }] } },
      'spec.request.files',
    ],
    [
      'a prompt twice',
      { ...configMap, request: { prompt: 'x', files: [{ input: 'prompt', path: 'there.png' }] } },
      'spec.request.files',
    ],
    [
      'somebody’s upload by its URL',
      { request: { options: { frames: ['x', { url: 'https://api.replicate.com/v1/files/abc123' }] } } },
      'spec.request.options.frames',
    ],
  ])('refuses %s and names the field', (_, spec, field) => {
    const made = planned({ request: { prompt: 'x' }, ...spec }, { 'there.png': 'x' });
    expect(made).toMatchObject({ ok: false, reason: 'FieldNotSupported' });
    expect(!made.ok && made.message.startsWith(`${field}:`), made.ok ? '' : made.message).toBe(true);
  });

  test.each(['policy', 'score', 'plan'])('refuses capability %s and says which there are', (capability) => {
    const made = planned({ request: { capability } });
    expect(made).toMatchObject({ ok: false, reason: 'CapabilityNotSupported' });
    expect(!made.ok && made.message).toContain('generate, predict, reason, embed, transfer');
  });
});

/** JSON as it is after a way through JSON: no undefined, no -0. */
const json = fc.jsonValue({ maxDepth: 3 }).map((value) => JSON.parse(JSON.stringify(value)) as unknown);
const key = fc.oneof(fc.stringMatching(/^[a-z_]{1,12}$/), fc.constantFrom('toString', '__proto__', 'constructor'));
const options = fc.dictionary(key, json, { maxKeys: 6 });

describe('a request is known again by what the vendor gives back', () => {
  const targets = [{ model: 'acme/dreamer' }, { version: VERSION }, { deployment: DEPLOYMENT }] as const;

  test.each(targets)('whatever its input is, with %o', async (replicate) => {
    const vendor = await aVendor({ replicate });
    await fc.assert(
      fc.asyncProperty(options, async (input) => {
        const request = { request: { options: input } };
        const handle = await vendor.create(request);
        const [newest] = await listed(vendor.runtime.list(0, vendor.io));
        vendor.fake.state.predictions.clear();
        expect(newest).toMatchObject({
          externalId: handle.externalId,
          requestDigest: vendor.plan(request).requestDigest,
        });
      }),
      { numRuns: 60 },
    );
  });

  test('its files too, by another process that only sees their URLs', async () => {
    const vendor = await aVendor();
    const spec = {
      request: { options: { seed: 1 }, files: [{ input: 'image', path: 'a.png' }] },
      source: { configMap: { name: 'inputs' } },
    };
    const made = vendor.plan(spec, { 'a.png': 'pixels' });
    await vendor.create(spec, { 'a.png': 'pixels' });
    const other = await aVendorLike(vendor);
    const [found] = await listed(other.list(0, vendor.io));
    expect(found!.requestDigest).toBe(made.requestDigest);
    expect(vendor.fake.requests('fileGet')).toHaveLength(1);
  });

  test('but not once the vendor has removed the input, or the file', async () => {
    const vendor = await aVendor();
    await vendor.create();
    vendor.fake.state.skip(3_700_000);
    expect(await listed(vendor.runtime.list(0, vendor.io))).toMatchObject([{ requestDigest: undefined, live: false }]);
    vendor.fake.state.predictions.clear();

    const spec = {
      request: { files: [{ input: 'image', path: 'a.png' }] },
      source: { configMap: { name: 'inputs' } },
    };
    await vendor.create(spec, { 'a.png': 'pixels' });
    vendor.fake.state.files.clear();
    const other = await aVendorLike(vendor);
    expect(await listed(other.list(0, vendor.io))).toMatchObject([{ requestDigest: undefined }]);
  });
});

async function aVendorLike({ runtime }: Awaited<ReturnType<typeof aVendor>>) {
  return new (runtime.constructor as new () => typeof runtime)();
}

test('a name is the same however it is written, and sent as the profile writes it', async () => {
  const { fake, create, plan, runtime, io } = await aVendor({ replicate: { model: 'Acme/Dreamer' } });
  fake.state.models.set('Acme/Dreamer', { owner: 'acme', name: 'dreamer', official: true, versions: [VERSION] });
  await create();
  expect(fake.requests('create')[0]!.url).toBe('/v1/models/Acme/Dreamer/predictions');
  expect(await listed(runtime.list(0, io))).toMatchObject([{ requestDigest: plan().requestDigest }]);
});

test('a version is the same with and without its model', () => {
  const parse = (version: string) =>
    targetOf(
      runtimeProfileSpec.parse({
        runtime: 'replicate',
        replicate: { version },
        credentials: { secretRef: { name: 'r' } },
        allowedNamespaces: {},
      }).replicate!,
    );
  const input = { a: 1 };
  expect(requestDigest(parse(VERSION), input)).toBe(requestDigest(parse(`acme/dreamer:${VERSION}`), input));
});
