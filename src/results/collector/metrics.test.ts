import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { fingerprint } from '../../telemetry/fingerprints.ts';
import { parseMetrics, readMetrics, withCleanNames } from './metrics.ts';
import { wordCleaner } from './words.ts';
import { OutputTree } from './output-tree.ts';

const parse = (text: string) => parseMetrics(Buffer.from(text), 'metrics.json');

describe('metrics.json', () => {
  it.each([
    ['{"loss": 0.5}', { loss: 0.5 }, 0, /^$/],
    ['\uFEFF{"loss": 1}', { loss: 1 }, 0, /^$/],
    [
      '{"a": NaN, "b": -Infinity, "c": Infinity, "d": 2}',
      { d: 2 },
      3,
      'left out: a (not finite), b (not finite), c (not finite)',
    ],
    [
      '{"a": "NaN, text", "b": [1], "c": {"d": 1}, "e": null, "f": true, "g": 1e999, "h": 3}',
      { h: 3 },
      6,
      /a \(a text\), b \(an array\), c \(an object\), e \(null\), f \(a boolean\) and 1 more/,
    ],
    ['{"": 1, "x": -0}', { x: 0 }, 1, /a name of 1 to 128/],
    ['[1, 2]', {}, 0, /holds an array/],
    ['5', {}, 0, /holds no object/],
    ['loss=0.5', {}, 0, /is no JSON/],
    ['', {}, 0, /is no JSON/],
    ['{"a": NaNcy}', {}, 0, /is no JSON/],
  ])('%j', (text, metrics, omitted, problem) => {
    const result = parse(text);
    expect(result.metrics).toEqual(metrics);
    expect(result.metricsOmitted).toBe(omitted);
    expect(result.metricsProblem ?? '').toMatch(problem);
  });

  it('keeps the first 256 entries and counts the rest', () => {
    const result = parse(JSON.stringify(Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`m${i}`, i]))));
    expect(Object.keys(result.metrics)).toHaveLength(256);
    expect(result.metricsOmitted).toBe(44);
  });

  it('keeps nothing but finite numbers, whatever is in it, and counts every entry', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (value) => {
        const { metrics, metricsOmitted, metricsProblem } = parse(JSON.stringify(value));
        const kept = Object.values(metrics);
        expect(kept.every(Number.isFinite)).toBe(true);
        expect(kept.length + metricsOmitted).toBe(Object.keys(value).length);
        expect((metricsProblem ?? '').length).toBeLessThanOrEqual(512);
      }),
    );
  });

  it('of 50 MB is refused without being read, and a missing one is said', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'worldflux-metrics-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const tree = await OutputTree.open(folder);
    expect(await readMetrics(tree, 'metrics.json')).toMatchObject({
      metrics: {},
      metricsProblem: 'metrics.json was not written',
    });
    await writeFile(join(folder, 'metrics.json'), '{');
    await truncate(join(folder, 'metrics.json'), 50_000_000);
    const before = process.memoryUsage().external;
    expect((await readMetrics(tree, 'metrics.json')).metricsProblem).toBe(
      'metrics.json holds 50000000 bytes, at most 1048576 are read',
    );
    expect(process.memoryUsage().external - before).toBeLessThan(10_000_000);
  });
});

it('names hold no secret, neither in metrics nor in what is said of those left out', () => {
  const token = 'opaque-Value-17';
  const clean = wordCleaner(fingerprint([Buffer.from(token)]));
  const parsed = parse(`{"loss": 1, "of ${token}": 2, "password=abc": 3, "${token}": "text"}`);
  expect(withCleanNames(parsed, clean)).toEqual({
    metrics: { loss: 1, 'of [redacted]': 2, 'password=[redacted]': 3 },
    metricsOmitted: 1,
    metricsProblem: 'left out: [redacted] (a text)',
  });
});
