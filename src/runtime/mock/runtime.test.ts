import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MemorySink } from '../../../test/conformance/memory-sink.ts';
import { worldRunSpec } from '../../crds/world-run.ts';
import type { RuntimeIo, RuntimeResult } from '../contract.ts';
import { aContext, aProfileRef } from '../testing/a-context.ts';
import { roundHalfEven } from './results.ts';
import { MockRuntime } from './runtime.ts';

const START = Date.parse('2026-11-20T10:00:00Z');

function ioAt(seconds: number, mock: object = {}): RuntimeIo {
  return {
    profile: aProfileRef({ runtime: 'mock', mock }),
    credentials: {},
    http: { fetch: () => fetch },
    signal: new AbortController().signal,
    now: () => START + seconds * 1000,
  };
}

function aRequest(request: object, more: object = {}, files: Record<string, string> = {}) {
  return aContext({ request, ...more }, aProfileRef({ runtime: 'mock', mock: {} }), files);
}

async function resultOf(context: ReturnType<typeof aRequest>, runtime = new MockRuntime()) {
  const plan = runtime.plan(context);
  if (!plan.ok) throw new Error(plan.message);
  const io = ioAt(0);
  const sink = new MemorySink();
  const result = await runtime.collect(await runtime.create(plan, io), context, sink, io);
  return { result, json: JSON.parse(String(sink.files.get('result.json'))), frames: sink.files.get('frames.bin') };
}

describe('what the mock makes up', () => {
  const table: { asks: object; gives: object; metrics: RuntimeResult['metrics'] }[] = [
    {
      asks: { capability: 'predict', options: { steps: 3, objects: 2, name: 'cart' } },
      gives: {
        step: 3,
        physics_score: 0.78,
        confidence: 0.76,
        frames: ['cart:frame:0', 'cart:frame:1', 'cart:frame:2'],
      },
      metrics: { step: 3, frames: 3, physics_score: 0.78, confidence: 0.76 },
    },
    {
      asks: { capability: 'predict', options: { steps: 0, step: 4, objects: 100 } },
      gives: { step: 5, physics_score: 0.99, confidence: 0.97 },
      metrics: { step: 5, frames: 1, physics_score: 0.99, confidence: 0.97 },
    },
    {
      asks: { capability: 'generate', prompt: 'a pendulum', options: { duration: 2 } },
      gives: { frames: 16, fps: 8, width: 640, height: 360 },
      metrics: { frames: 16, fps: 8, duration_seconds: 2 },
    },
    { asks: { capability: 'reason' }, gives: { confidence: 0.81 }, metrics: { confidence: 0.81 } },
    { asks: { capability: 'embed' }, gives: { model: 'mock-embedding-v1' }, metrics: { dimensions: 32 } },
  ];
  test.each(table)('for $asks', async ({ asks, gives, metrics }) => {
    const { result, json } = await resultOf(aRequest(asks));
    expect(json).toMatchObject(gives);
    expect(result).toMatchObject({ exitCode: 0, metrics, costEstimateUSD: 0 });
  });

  test('frames of a video are bytes with their facts beside them', async () => {
    const { result, frames } = await resultOf(aRequest({ options: { duration: 1 } }));
    expect(frames).toHaveLength(8 * 1024);
    expect(result.artifacts).toMatchObject([{ path: 'result.json' }, { path: 'frames.bin' }]);
    expect(result.metadata).toMatchObject({ width: '640', height: '360', fps: '8' });
  });

  test('a transfer copies the frames that it is given', async () => {
    const request = { capability: 'transfer', files: [{ input: 'clip', path: 'clip.bin' }] };
    const { frames } = await resultOf(aRequest(request, {}, { 'clip.bin': 'frames of a clip' }));
    expect(String(frames)).toBe('frames of a clip');
  });

  test('is the same for the same request, whoever asks, and another for another', async () => {
    const text = fc.string({ maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(text, text, async (one, other) => {
        const first = await resultOf(aRequest({ capability: 'embed', prompt: one }));
        const again = await resultOf({
          ...aRequest({ capability: 'embed', prompt: one }),
          clientRunId: 'another',
          attempt: 2,
        });
        const second = await resultOf(aRequest({ capability: 'embed', prompt: other }));
        expect(again.json).toEqual(first.json);
        expect(JSON.stringify(second.json) === JSON.stringify(first.json)).toBe(one === other);
      }),
      { numRuns: 30 },
    );
  });

  test.each([
    [0.5, 0],
    [1.5, 2],
    [2.5, 2],
    [2.51, 3],
    [7, 7],
  ])('%d is rounded to %d, as the original does', (value, rounded) => {
    expect(roundHalfEven(value)).toBe(rounded);
  });
});

describe('where the mock’s work stands', () => {
  const create = async (mock: object, runSeconds = 100) => {
    const runtime = new MockRuntime();
    const plan = runtime.plan(aRequest({}, { timeouts: { runSeconds } }));
    if (!plan.ok) throw new Error(plan.message);
    const handle = await runtime.create(plan, ioAt(0, mock));
    // Another process: what stands in the handle must be enough.
    const at = async (seconds: number) =>
      (await new MockRuntime().observe([handle], ioAt(seconds, mock))).get(handle.externalId);
    return { handle, at };
  };

  test('follows from its creation and the profile alone', async () => {
    const { at } = await create({ runSeconds: 10 });
    expect(await at(5)).toMatchObject({ at: 'running', percent: 50 });
    expect(await at(10)).toMatchObject({ at: 'ended', outcome: 'succeeded', finishedAt: START + 10_000 });
  });

  test('is over at the deadline that it was given', async () => {
    const { at } = await create({ runSeconds: 10 }, 3);
    expect(await at(2)).toMatchObject({ at: 'running' });
    expect(await at(3)).toMatchObject({ at: 'ended', outcome: 'failed', reason: 'VendorDeadline' });
  });

  test('is a failure where the profile says so', async () => {
    const { at } = await create({ failure: 'Fail' });
    expect(await at(0)).toMatchObject({ at: 'ended', outcome: 'failed', reason: 'VendorFailed' });
  });

  test('never begins where the profile rejects every request', async () => {
    await expect(create({ failure: 'Reject' })).rejects.toMatchObject({ kind: 'user' });
  });
});

describe('the mock refuses', () => {
  test.each([
    ['a run without a request', {}, 'FieldNotSupported', 'spec.request:'],
    ['a capability that it does not have', { request: { capability: 'policy' } }, 'CapabilityNotSupported', 'policy'],
    ['an image', { request: {}, image: 'python:3' }, 'FieldNotSupported', 'spec.image:'],
    ['a command', { request: {}, command: ['python'] }, 'FieldNotSupported', 'spec.command:'],
    ['several nodes', { request: {}, nodes: 2 }, 'FieldNotSupported', 'spec.nodes:'],
    [
      'forwarded secrets',
      { request: {}, forwardProviderEnv: ['HF_TOKEN'] },
      'FieldNotSupported',
      'spec.forwardProviderEnv:',
    ],
    [
      'a git source',
      { request: {}, source: { git: { url: 'https://example.com/a.git' } } },
      'FieldNotSupported',
      'spec.source.git:',
    ],
    ['a video without end', { request: { options: { duration: 1e9 } } }, 'FieldNotSupported', 'options.duration'],
    ['a number that is none', { request: { options: { duration: 'long' } } }, 'FieldNotSupported', 'options.duration'],
    [
      'a file that is not there',
      { request: { files: [{ input: 'x', path: 'y' }] } },
      'FieldNotSupported',
      'holds no y',
    ],
    ['a transfer of nothing', { request: { capability: 'transfer' } }, 'FieldNotSupported', 'spec.request.files:'],
  ])('%s', (_, spec, reason, words) => {
    const profile = aProfileRef({ runtime: 'mock', mock: {} });
    const plan = new MockRuntime().plan(aContext(spec, profile));
    expect(plan).toMatchObject({ ok: false, reason, message: expect.stringContaining(words) });
  });

  test('nothing of what it can do', () => {
    const spec = worldRunSpec.parse({
      request: { capability: 'predict' },
      outputs: { artifacts: [{ name: 'frames', path: 'frames.bin' }] },
    });
    expect(new MockRuntime().plan(aContext(spec, aProfileRef({ runtime: 'mock', mock: {} })))).toMatchObject({
      ok: true,
    });
  });
});

test('the doctor of a mock that fails says that it will', async () => {
  const lines = await new MockRuntime().doctor(aProfileRef({ runtime: 'mock', mock: { failure: 'Reject' } }));
  expect(lines.map(({ message }) => message).join(' ')).toContain('spec.mock.failure is Reject');
  expect(lines.filter(({ level }) => level === 'error')).toEqual([]);
});
