import { describe, expect, test } from 'vitest';
import { TOKEN } from '../../../test/fakes/replicate/server.ts';
import type { OperationPolicy } from '../../crds/runtime-profile.ts';
import type { RuntimeResult } from '../contract.ts';
import { outputsOf } from './outputs.ts';
import { aProfile, aVendor, KeepingSink } from './testing/a-vendor.ts';

const video = { $file: 'rollout.mp4', type: 'video/mp4', text: 'frames' };

/** A prediction with this output, ended and collected. */
async function collected(
  output: unknown,
  {
    sink = new KeepingSink(),
    behaviour = {},
    maxDownloadBytes,
    download = {},
  }: {
    sink?: KeepingSink;
    behaviour?: object;
    maxDownloadBytes?: number;
    download?: Partial<OperationPolicy>;
  } = {},
) {
  const vendor = await aVendor({
    fake: { behaviour: { output, ...behaviour } },
    policy: { download: { maxAttempts: 2, ...download } },
    ...(maxDownloadBytes === undefined ? {} : { maxDownloadBytes }),
  });
  const handle = await vendor.create();
  const collect = () => vendor.runtime.collect(handle, vendor.plan().context, sink, vendor.io);
  return { ...vendor, handle, sink, collect };
}

describe('outputs', () => {
  test('that are one file are kept with name, type and digest', async () => {
    const { collect, sink, fake } = await collected(video);
    expect((await collect()).artifacts).toMatchObject([
      { name: 'output', path: 'output.mp4', contentType: 'video/mp4', sizeBytes: 6, state: 'Stored' },
    ]);
    expect(sink.text('output.mp4')).toBe('frames');
    expect(fake.violations).toEqual([]);
  });

  test('that are a list of files are kept one by one', async () => {
    const { collect, sink } = await collected([video, { $file: 'b', type: 'image/webp', text: 'b' }]);
    expect((await collect()).artifacts.map(({ name }) => name)).toEqual(['output-0', 'output-1']);
    expect([...sink.kept.keys()]).toEqual(['output-0.mp4', 'output-1.webp']);
  });

  test('that are a text are kept as a text', async () => {
    const { collect, sink } = await collected('a cup\non a table');
    expect((await collect()).artifacts).toMatchObject([{ name: 'output', contentType: 'text/plain; charset=utf-8' }]);
    expect(sink.text('output.txt')).toBe('a cup\non a table');
  });

  test.each([[[1, 2.5, null]], [{ score: 0.5, tags: ['a'] }], [42], [false], [['to', 'ken', 's']], [[]]])(
    'that are plain JSON are kept as JSON: %j',
    async (output) => {
      const { collect, sink } = await collected(output);
      expect((await collect()).artifacts).toMatchObject([
        { name: 'output', path: 'output.json', contentType: 'application/json' },
      ]);
      expect(JSON.parse(sink.text('output.json')!)).toEqual(output);
    },
  );

  test('that hold files among other things are both, and the JSON says which is which', async () => {
    const output = { caption: 'a cup', video, frames: [{ at: 1, image: { $file: 'f.png', text: 'png' } }] };
    const { collect, sink } = await collected(output);
    const { artifacts } = await collect();
    expect(artifacts.map(({ name, path }) => [name, path])).toEqual([
      ['video', 'video.mp4'],
      ['frames-0-image', 'frames-0-image.png'],
      ['output', 'output.json'],
    ]);
    expect(JSON.parse(sink.text('output.json')!)).toEqual({
      caption: 'a cup',
      video: { artifact: 'video' },
      frames: [{ at: 1, image: { artifact: 'frames-0-image' } }],
    });
    expect(sink.text('output.json')).not.toContain('sig=');
  });

  test('that hold their bytes in the URL are kept as those', async () => {
    const png = `data:image/png;base64,${Buffer.from('pixels').toString('base64')}`;
    const { collect, sink, fake } = await collected([png, 'data:,a%20b']);
    await collect();
    expect(sink.kept.get('output-0.png')).toEqual({ bytes: Buffer.from('pixels'), contentType: 'image/png' });
    expect(sink.text('output-1.txt')).toBe('a b');
    expect(fake.requests('output')).toEqual([]);
  });

  test('that were none leave none', async () => {
    const { collect } = await collected(null);
    expect((await collect()).artifacts).toEqual([]);
  });

  test('at a foreign host are named and not fetched', async () => {
    const { collect, sink } = await collected('https://elsewhere.example/x.png?sig=abc');
    const { artifacts } = await collect();
    expect(artifacts).toMatchObject([
      { name: 'output', state: 'Skipped' },
      { path: 'output.txt', state: 'Stored' },
    ]);
    expect(artifacts[0]!.message).toContain('elsewhere.example');
    expect(artifacts[0]!.message).toContain('spec.network.allowedHosts');
    expect(sink.text('output.txt')).toBe('https://elsewhere.example/x.png');
  });

  test('that the API itself serves are asked for with the token, no other is', async () => {
    const vendor = await aVendor();
    const file = vendor.fake.state.addFile('x.bin', 'application/octet-stream', Buffer.from('x'), {});
    vendor.fake.state.behaviour.output = [`${vendor.fake.url}/files/${file.id}`, video];
    const sink = new KeepingSink();
    await vendor.runtime.collect(await vendor.create(), vendor.plan().context, sink, vendor.io);
    expect(vendor.fake.requests('fileGet')[0]!.headers.authorization).toBe(`Bearer ${TOKEN}`);
    expect(vendor.fake.requests('output')[0]!.headers.authorization).toBeUndefined();
  });

  test('that the store has already hold no connection up', async () => {
    class Full extends KeepingSink {
      override artifact({ name, path }: Parameters<KeepingSink['artifact']>[0]) {
        return Promise.resolve({ name, path, commit: false, state: 'Stored' as const });
      }
    }
    const files = Array.from({ length: 40 }, (_, i) => ({ $file: `${i}.bin`, size: 900_000 }));
    const { collect, fake } = await collected(files, { sink: new Full() });
    expect((await collect()).artifacts).toHaveLength(40);
    expect(fake.requests('output')).toHaveLength(40);
  });

  test('beyond what a run can have are counted', async () => {
    const { collect } = await collected(Array.from({ length: 70 }, () => ({ $file: 'a.txt', text: 'a' })));
    const { artifacts } = await collect();
    expect(artifacts).toHaveLength(63);
    expect(artifacts.at(-1)).toMatchObject({ state: 'Skipped', count: 8 });
  });

  test('have names of their own, whatever the model calls them', () => {
    const url = 'https://replicate.delivery/a/b.png';
    const { parts } = outputsOf({ 'a b': url, a_b: url, '': url, '../../etc': url, ['x'.repeat(99)]: url }, aProfile());
    const names = parts.map(({ name }) => name);
    expect(new Set(names).size).toBe(5);
    for (const name of names) expect(name).toMatch(/^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/);
  });

  test('nested without end do not end the process', () => {
    let deep: unknown = 'x';
    for (let i = 0; i < 5000; i += 1) deep = [deep];
    expect(() => JSON.stringify(outputsOf(deep, aProfile()).value)).not.toThrow();
  });
});

describe('outputs that cannot be had', () => {
  test('because their hour is over are missing, and the rest is kept', async () => {
    const { collect, fake } = await collected([video, video]);
    fake.faults.add({ on: 'output', answer: { status: 404 } });
    const { artifacts } = await collect();
    expect(artifacts).toMatchObject([
      { name: 'output-0', state: 'Missing' },
      { name: 'output-1', state: 'Stored' },
    ]);
    expect(artifacts[0]!.message).toContain('(404)');
  });

  test.each([403, 410])('because the URL has expired (%i) are missing', async (status) => {
    const { collect, fake } = await collected(video);
    fake.faults.add({ on: 'output', answer: { status } });
    expect((await collect()).artifacts).toMatchObject([{ state: 'Missing' }]);
  });

  test('because the vendor has removed them are missing', async () => {
    const { collect, fake } = await collected(video, { behaviour: { logs: ['a'] } });
    fake.state.skip(3_700_000);
    const result = await collect();
    expect(result.artifacts).toMatchObject([{ name: 'output', state: 'Missing' }]);
    expect(result).toMatchObject({ exitCode: 0, logPath: undefined, metadata: { data_removed: 'true' } });
    expect(fake.requests('output')).toEqual([]);
  });

  test('because their host fails are asked for again by the policy, and then later, when the others are kept', async () => {
    const { collect, fake, sink } = await collected([video, { ...video, text: 'second' }]);
    fake.faults.add({ on: 'output', times: 2, answer: { status: 503 } });
    await expect(collect()).rejects.toMatchObject({ fault: { kind: 'retryable' } });
    expect(fake.requests('output')).toHaveLength(3);
    expect(sink.text('output-1.mp4')).toBe('second');
    expect((await collect()).artifacts.map(({ state }) => state)).toEqual(['Stored', 'Stored']);
  });

  test('within the profile’s budget have failed, and are not asked for again', async () => {
    const { collect, fake } = await collected([{ $file: 'a.txt', text: 'a' }, video], {
      download: { backoffSeconds: 2, maxElapsedSeconds: 1 },
    });
    fake.faults.add({ on: 'output', answer: { status: 503 } });
    expect((await collect()).artifacts).toMatchObject([
      { state: 'Failed', message: expect.stringContaining('exceeded budget 1.000s') },
      { state: 'Stored' },
    ]);
    expect(fake.requests('output')).toHaveLength(2);
  });

  test('because the connection is lost in the middle are not half kept', async () => {
    const { collect, fake, sink } = await collected({ $file: 'a.bin', size: 200_000 });
    fake.faults.add({ on: 'output', cut: 'middle' });
    await expect(collect()).rejects.toMatchObject({ fault: { kind: 'retryable' } });
    expect(sink.kept.size).toBe(0);
    expect((await collect()).artifacts).toMatchObject([{ state: 'Stored', sizeBytes: 200_000 }]);
  });

  test('because they are too large are refused, by the sink or before', async () => {
    const file = { $file: 'a.bin', size: 100_000 };
    expect((await (await collected(file, { sink: new KeepingSink(1000) })).collect()).artifacts).toMatchObject([
      { state: 'Refused' },
    ]);
    expect((await (await collected(file, { maxDownloadBytes: 1000 })).collect()).artifacts).toMatchObject([
      { state: 'Refused', message: expect.stringContaining('longer than 1000 bytes') },
    ]);
  });

  test('because the connection is lost are the vendor’s failure, whatever the store makes of it', async () => {
    class Wrapping extends KeepingSink {
      override async artifact(what: Parameters<KeepingSink['artifact']>[0]) {
        return super.artifact(what).catch((cause: unknown) => {
          throw new Error('the store could not write', { cause });
        });
      }
    }
    const { collect, fake } = await collected({ $file: 'a.bin', size: 200_000 }, { sink: new Wrapping() });
    fake.faults.add({ on: 'output', cut: 'middle' });
    await expect(collect()).rejects.toMatchObject({ fault: { kind: 'retryable' } });
  });

  test('because the store fails are the store’s failure', async () => {
    const sink = new KeepingSink();
    sink.artifact = () => Promise.reject(new Error('the disk is full'));
    await expect((await collected(video, { sink })).collect()).rejects.toThrow('the disk is full');
  });

  test('because nobody knows the prediction leave only that', async () => {
    const { collect, fake } = await collected(video);
    fake.state.predictions.clear();
    expect(await collect()).toMatchObject({ exitCode: 1, artifacts: [], metadata: { known_to_vendor: 'false' } });
  });
});

describe('what is told of a prediction', () => {
  const told = async (behaviour: object): Promise<{ result: RuntimeResult; sink: KeepingSink }> => {
    const { collect, sink, fake } = await collected('x', { behaviour: { queueMs: 1000, runMs: 2500, ...behaviour } });
    fake.state.skip(10_000);
    return { result: await collect(), sink };
  };

  test('is its log, its time and its numbers', async () => {
    const { result, sink } = await told({
      logs: ['step 1', 'step 2'],
      metrics: { image_count: 4, input_token_count: 12, note: 'x', nested: { a: 1 } },
    });
    expect(sink.logText).toBe('step 1\nstep 2\n');
    expect(result).toMatchObject({
      exitCode: 0,
      durationSeconds: 2.5,
      logPath: 'logs/run.log',
      costEstimateUSD: undefined,
    });
    expect(result.metrics).toEqual({ predict_time: 2.5, total_time: 3.5, image_count: 4, input_token_count: 12 });
  });

  test('is what it was, and no URL', async () => {
    const { result } = await told({ output: video });
    expect(result.metadata).toMatchObject({
      provider: 'replicate',
      prediction_status: 'succeeded',
      model: 'acme/dreamer',
      version: 'hidden',
      data_removed: 'false',
    });
    expect(JSON.stringify([result.metadata, result.artifacts])).not.toMatch(/http|sig=/);
  });

  test('is that it failed, with its log', async () => {
    const { result, sink } = await told({ outcome: 'fail', logs: ['Traceback'] });
    expect(result).toMatchObject({ exitCode: 1, artifacts: [], metadata: { prediction_status: 'failed' } });
    expect(sink.logText).toBe('Traceback\n');
  });
});
