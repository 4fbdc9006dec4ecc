import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, onTestFinished, test } from 'vitest';

const MAIN = join(import.meta.dirname, '../../../test/fakes/replicate/main.ts');

/** The stand-in as a process of its own, as end-to-end tests use it. */
async function aProcess(...args: string[]) {
  const child = spawn(process.execPath, [MAIN, '--port', '0', ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(async () => {
    if (child.exitCode === null && child.kill()) await once(child, 'exit');
  });
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  const place = JSON.parse(line) as { url: string; controlUrl: string; token: string; model: string };
  const call = async (method: string, url: string, body?: unknown) => {
    const headers = {
      authorization: `Bearer ${place.token}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    };
    const response = await fetch(url, {
      method,
      headers,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, body: (text === '' ? undefined : JSON.parse(text)) as Record<string, unknown> };
  };
  return {
    ...place,
    call,
    create: () => call('POST', `${place.url}/models/${place.model}/predictions`, { input: {} }),
  };
}

test('the stand-in is held over HTTP: faults, time, tokens, counters', async () => {
  const { call, create, controlUrl } = await aProcess('--run-ms', '5000');
  expect(await create()).toMatchObject({ status: 201, body: { status: 'processing' } });

  await call('POST', `${controlUrl}/_control/faults`, [
    { on: 'create', cut: 'after' },
    { on: 'create', answer: { status: 429 } },
  ]);
  await expect(create()).rejects.toThrow('fetch failed');
  expect(await create()).toMatchObject({ status: 429 });
  expect((await call('GET', `${controlUrl}/_control`)).body).toMatchObject({
    created: 2,
    live: 2,
    requests: { create: 3 },
  });

  await call('PATCH', `${controlUrl}/_control/state`, {
    skipMs: 5000,
    behaviour: { outcome: 'fail' },
    suspended: true,
  });
  expect((await call('GET', `${controlUrl}/_control`)).body).toMatchObject({ live: 0 });
  expect(await create()).toMatchObject({ status: 402 });

  await call('PATCH', `${controlUrl}/_control/state`, { tokens: ['another'] });
  expect(await create()).toMatchObject({ status: 401 });
});
