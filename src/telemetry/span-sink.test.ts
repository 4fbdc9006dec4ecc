import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished, test, vi } from 'vitest';
import { ProviderEvents } from './provider-events.ts';
import { SpanSink } from './span-sink.ts';
import { startOtlpReceiver, type ReceivedSpan } from './testing/otlp-receiver.ts';

async function receiver(status = 200) {
  const started = await startOtlpReceiver(status);
  onTestFinished(started.close);
  return started;
}

const attributesOf = (span: ReceivedSpan): Record<string, unknown> =>
  Object.fromEntries(span.attributes.map(({ key, value }) => [key, Object.values(value)[0]]));

test('headers that the receiver asks for come from the variable that the chart fills', async () => {
  vi.stubEnv('OTEL_EXPORTER_OTLP_HEADERS', 'authorization=Bearer%20abc,x-tenant=robotics');
  onTestFinished(() => void vi.unstubAllEnvs());
  const { spans, headers, url } = await receiver();
  const sink = new SpanSink({ endpoint: url, onLost: () => {}, delayMs: 20 });
  const events = new ProviderEvents({ sinks: [sink], onLost: () => {} });
  events.emit({ provider: 'replicate', operation: 'prediction get', phase: 'success' });
  await vi.waitFor(() => expect(spans).toHaveLength(1));
  await sink.close();
  expect(headers).toEqual([expect.objectContaining({ authorization: 'Bearer abc', 'x-tenant': 'robotics' })]);
});

test('an event becomes a span with WorldForge’s name and attributes', async () => {
  const { spans, paths, url } = await receiver();
  const lost: unknown[] = [];
  const sink = new SpanSink({ endpoint: `${url}/`, onLost: (error) => lost.push(error), delayMs: 20 });
  const events = new ProviderEvents({ sinks: [sink], onLost: (_, error) => lost.push(error) });
  events.emit({
    provider: 'replicate',
    operation: 'prediction get',
    phase: 'retry',
    attempt: 1,
    maxAttempts: 3,
    method: 'get',
    target: 'https://u:p@api.replicate.com/v1/predictions/7?token=x',
    statusCode: 503,
    durationMs: 250,
    message: 'Authorization: Bearer abcdefgh123',
    capability: 'generate',
    metadata: { next_delay_seconds: 0.25 },
    runId: '20261120T101500Z-1a2b3c4d',
    profile: 'replicate-video',
  });
  await vi.waitFor(() => expect(spans).toHaveLength(1));
  await sink.close();
  expect(lost).toEqual([]);
  expect(paths).toEqual(['POST /v1/traces']);
  const [span] = spans as [ReceivedSpan];
  expect(span.name).toBe('worldforge.provider.replicate.prediction get.retry');
  expect(attributesOf(span)).toEqual({
    'worldforge.provider': 'replicate',
    'worldforge.operation': 'prediction get',
    'worldforge.phase': 'retry',
    'worldforge.attempt': 1,
    'worldforge.max_attempts': 3,
    'worldforge.duration_ms': 250,
    'worldforge.run_id': '20261120T101500Z-1a2b3c4d',
    'http.request.method': 'GET',
    'http.response.status_code': 503,
    'url.full': 'https://api.replicate.com/v1/predictions/7',
    'worldforge.status_class': '5xx',
    'worldforge.capability': 'generate',
    'worldforge.message': 'Authorization: [redacted]',
    'worldforge.metadata_json': '{"next_delay_seconds":0.25,"capability":"generate"}',
    'worldforge.host.profile': 'replicate-video',
  });
  expect(span.status.code).toBe(2);
  expect(BigInt(span.endTimeUnixNano) - BigInt(span.startTimeUnixNano)).toBe(250_000_000n);
});

test('spans of one run share a trace, those of another and of none do not', async () => {
  const { spans, url } = await receiver();
  const lost: unknown[] = [];
  const sink = new SpanSink({ endpoint: url, onLost: (error) => lost.push(error) });
  const events = new ProviderEvents({ sinks: [sink], onLost: (_, error) => lost.push(error) });
  const call = { provider: 'replicate', operation: 'o', phase: 'success' } as const;
  for (const runId of ['a', 'a', 'b']) events.emit({ ...call, runId });
  events.emit(call);
  await sink.close();
  const [first, second, third, fourth] = spans.map(({ traceId }) => traceId);
  expect(lost).toEqual([]);
  expect(first).toBe(second);
  expect(new Set([first, third, fourth]).size).toBe(3);
});

test('a receiver that refuses or is not there is told of, and takes nothing else with it', async () => {
  const refusing = await receiver(400);
  const lost: unknown[] = [];
  const refused: string[] = [];
  for (const endpoint of [refusing.url, 'http://127.0.0.1:1']) {
    const sink = new SpanSink({ endpoint, onLost: (error) => lost.push(error), delayMs: 10 });
    const events = new ProviderEvents({ sinks: [sink], onLost: (name) => refused.push(name) });
    for (let i = 0; i < 5000; i++) events.emit({ provider: 'p', operation: 'o', phase: 'success' });
    await sink.close();
  }
  expect(lost.length).toBeGreaterThan(0);
  expect(refused).toEqual([]);
});

test('a process whose spans have nowhere to go does not load OpenTelemetry', async () => {
  const root = join(import.meta.dirname, '../..');
  const script = `
    import { registerHooks } from 'node:module';
    const loaded = [];
    registerHooks({ load: (url, context, next) => { if (url.includes('@opentelemetry')) loaded.push(url); return next(url, context); } });
    const { openSpans } = await import(${JSON.stringify(join(root, 'src/telemetry/spans.ts'))});
    await openSpans({ endpoint: undefined, onLost() {} });
    const without = loaded.length;
    await (await openSpans({ endpoint: 'http://127.0.0.1:1', onLost() {} })).close();
    console.log(JSON.stringify([without, loaded.length > 0]));
  `;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
  expect(JSON.parse(stdout)).toEqual([0, true]);
});
