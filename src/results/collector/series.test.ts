import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { OutputTree } from './output-tree.ts';
import { readProgress } from './progress.ts';
import { fingerprint } from '../../telemetry/fingerprints.ts';
import { filterSeries, lastStep } from './series.ts';
import { wordCleaner } from './words.ts';

const token = 'opaque-Value-17';
const how = {
  signal: new AbortController().signal,
  clean: wordCleaner(fingerprint([Buffer.from(token)])),
};
let folder: string;
let tree: OutputTree;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'worldflux-series-'));
  tree = await OutputTree.open(folder);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const series = (text: string | Buffer) => writeFile(join(folder, 's.jsonl'), text);
const point = (step: number, name = 'loss') => `{"step":${step},"name":"${name}","value":${step / 7}}`;

describe('a series', () => {
  it('keeps the good lines and counts the rest', async () => {
    const good = [point(1), point(2, 'größe'), '{"name":"x","value":1}'];
    const bad = [
      'nonsense',
      '{"step":1,"name":"a","value":NaN}',
      '{"step":1,"name":"a","value":"1"}',
      '{"step":-1,"name":"a","value":1}',
      '{"value":1}',
      '[]',
      `{"name":"a","value":1,"pad":"${'x'.repeat(5000)}"}`,
    ];
    await series([good[0], bad.join('\n'), '', good[1], good[2]].join('\n'));
    expect(await filterSeries(tree, 's.jsonl', join(folder, 'copy'), how)).toEqual({
      lines: 3,
      dropped: bad.length,
      bytes: Buffer.byteLength(`${good.join('\n')}\n`),
    });
    expect(await readFile(join(folder, 'copy'), 'utf8')).toBe(`${good.join('\n')}\n`);
  });

  it('keeps no secret that the run put into a name or beside it', async () => {
    const key = 'wbx_abcdefgh12345678';
    await series(
      [
        point(1, `loss of ${token}`),
        point(2, `token=${key}`),
        `{"step":3,"name":"größe","value":1,"note":"${Buffer.from(token).toString('base64')}","password":"p w"}`,
        point(4, 'max_tokens=5'),
      ].join('\n'),
    );
    expect(await filterSeries(tree, 's.jsonl', join(folder, 'copy'), how)).toMatchObject({ lines: 4, dropped: 0 });
    const kept = (await readFile(join(folder, 'copy'), 'utf8')).trim().split('\n');
    expect(kept.map((line) => JSON.parse(line) as unknown)).toEqual([
      { step: 1, name: 'loss of [redacted]', value: 1 / 7 },
      { step: 2, name: 'token=[redacted]', value: 2 / 7 },
      { step: 3, name: 'größe', value: 1, note: '[redacted]', password: '[redacted]' },
      { step: 4, name: 'max_tokens=5', value: 4 / 7 },
    ]);
  });

  it('of many chunks comes out whole', async () => {
    const lines = Array.from({ length: 50_000 }, (_, i) => point(i));
    await series(lines.join('\n'));
    expect(await filterSeries(tree, 's.jsonl', join(folder, 'copy'), how)).toMatchObject({
      lines: 50_000,
      dropped: 0,
    });
    expect(await readFile(join(folder, 'copy'), 'utf8')).toBe(`${lines.join('\n')}\n`);
  });

  it('without a line end costs no memory', async () => {
    await series(Buffer.alloc(20_000_000, 0x78));
    expect(await filterSeries(tree, 's.jsonl', join(folder, 'copy'), how)).toEqual({
      lines: 0,
      dropped: 1,
      bytes: 0,
    });
  });

  it('that was not written is none', async () => {
    expect(await filterSeries(tree, 's.jsonl', join(folder, 'copy'), how)).toBeUndefined();
  });

  it('tells the last step that is whole', async () => {
    await series(`${Array.from({ length: 5000 }, (_, i) => point(i)).join('\n')}\n{"step": 5000, "na`);
    expect(await lastStep(tree, 's.jsonl')).toBe(4999);
    await series('');
    expect(await lastStep(tree, 's.jsonl')).toBeUndefined();
  });
});

describe('progress', () => {
  it.each([
    ['{"percent": 40, "etaSeconds": 12.5, "step": 7}', { percent: 40, etaSeconds: 12.5, step: 7 }],
    ['{"percent": 140, "etaSeconds": -1, "step": 1.5}', { percent: 100 }],
    ['{"percent": "40"}', {}],
    ['{"percent": ', {}],
    ['[]', {}],
    [' '.repeat(5000), {}],
  ])('%j', async (text, expected) => {
    await writeFile(join(folder, 'progress.json'), text);
    expect(await readProgress(tree, 's.jsonl')).toEqual(expected);
  });

  it('takes the step from the series where nothing else says it', async () => {
    await series(`${point(3)}\n`);
    expect(await readProgress(tree, 's.jsonl')).toEqual({ step: 3 });
  });
});
