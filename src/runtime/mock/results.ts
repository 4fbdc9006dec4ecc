import { createHash } from 'node:crypto';
import type { WorldRunSpec } from '../../crds/world-run.ts';
import type { RuntimeContext } from '../contract.ts';

/** What the mock makes up: WorldForge's own numbers for each capability. Pure: the same request gives the same bytes. */

export const MOCK_CAPABILITIES = ['predict', 'generate', 'reason', 'embed', 'transfer'] as const;
export type MockCapability = (typeof MOCK_CAPABILITIES)[number];

/** The part of a run that its results follow from. */
export interface MockRequest {
  readonly capability: MockCapability;
  readonly prompt: string;
  /** JSON. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly files: readonly { readonly input: string; readonly path: string; readonly sha256: string }[];
}

export interface MockResults {
  /** Content of `result.json`. */
  readonly result: Readonly<Record<string, unknown>>;
  /** Content of `frames.bin`, where the capability has frames. */
  readonly frames: (() => Iterable<Buffer>) | undefined;
  readonly metrics: Readonly<Record<string, number>>;
  readonly metadata: Readonly<Record<string, string>>;
}

const FRAME_RATE = 8;
const FRAME_BYTES = 1024;
const VIDEO = { fps: String(FRAME_RATE), width: '640', height: '360', content_type: 'application/octet-stream' };

/** Seconds of video; more is refused, so that a test cannot fill a store by a slip. */
export const LONGEST_VIDEO = 600;
/** Frames that a prediction names in its result. */
export const MOST_STEPS = 10_000;

const clamp = (value: number, low: number, high: number): number => Math.min(high, Math.max(low, value));
/** Keeps 0.72 + 0.03 from becoming 0.7499999999999999. */
const cents = (value: number): number => Math.round(value * 100) / 100;

/** Half to even, as the original's language rounds. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

export function numberOption(run: WorldRunSpec, name: string, absent: number): number | 'wrong' {
  const value = run.request?.options?.[name] ?? absent;
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : 'wrong';
}

/** `digest` is the request's, in hex; everything that is made up is drawn from it. */
export function resultsOf(request: MockRequest, digest: string, context: Pick<RuntimeContext, 'files'>): MockResults {
  const option = (name: string, absent: number): number => Number(request.options[name] ?? absent);
  switch (request.capability) {
    case 'predict': {
      const steps = Math.max(1, Math.floor(option('steps', 1)));
      const physics = cents(clamp(0.72 + 0.03 * option('objects', 0), 0.6, 0.99));
      const confidence = cents(clamp(physics - 0.02, 0.65, 0.99));
      const name = typeof request.options['name'] === 'string' ? request.options['name'] : 'mock-world';
      const frames = Array.from({ length: steps }, (_, i) => `${name}:frame:${i}`);
      const step = Math.floor(option('step', 0)) + steps;
      return {
        result: { step, confidence, physics_score: physics, frames },
        frames: undefined,
        metrics: { step, confidence, physics_score: physics, frames: steps },
        metadata: {},
      };
    }
    case 'generate': {
      const count = Math.max(1, roundHalfEven(option('duration', 1) * FRAME_RATE));
      return {
        result: { frames: count, fps: FRAME_RATE, width: 640, height: 360 },
        frames: () => madeUpFrames(digest, count),
        metrics: { frames: count, fps: FRAME_RATE, duration_seconds: count / FRAME_RATE },
        metadata: VIDEO,
      };
    }
    case 'reason':
      return {
        result: { answer: `mock answer ${digest.slice(0, 12)}`, confidence: 0.81 },
        frames: undefined,
        metrics: { confidence: 0.81 },
        metadata: {},
      };
    case 'embed': {
      const embedding = [...createHash('sha256').update(digest).digest()].map((byte) => byte / 255);
      return {
        result: { model: 'mock-embedding-v1', embedding },
        frames: undefined,
        metrics: { dimensions: embedding.length },
        metadata: { model: 'mock-embedding-v1' },
      };
    }
    case 'transfer': {
      const clips = request.files.map(({ path }) => context.files.get(path)!.bytes);
      return {
        result: { clips: clips.length, fps: FRAME_RATE, width: 640, height: 360 },
        frames: () => clips,
        metrics: { clips: clips.length, bytes: clips.reduce((sum, clip) => sum + clip.length, 0) },
        metadata: VIDEO,
      };
    }
  }
}

function* madeUpFrames(digest: string, count: number): Generator<Buffer> {
  for (let i = 0; i < count; i += 1) {
    const line = createHash('sha256').update(`${digest}:${i}`).digest();
    yield Buffer.alloc(FRAME_BYTES, line);
  }
}
