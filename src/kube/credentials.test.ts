import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { KubeClient } from './client.ts';
import { Credentials } from './credentials.ts';
import { NODES } from './resource.ts';
import { selfSigned } from './testing/certificates.ts';
import { answerJson, answerStatus, serve, startScriptedServer } from './testing/scripted-server.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'credentials-'));
  vi.useFakeTimers({ toFake: ['performance'] });
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(dir, { recursive: true });
});

const inDir = (name: string, content: string) => {
  writeFileSync(join(dir, name), content);
  return join(dir, name);
};
const cluster = { name: 'c', server: 'https://c.example', skipTLSVerify: false };
const minutePasses = () => vi.advanceTimersByTime(61_000);

describe('a token file', () => {
  test('is read again every minute, and kept when that fails', async () => {
    const tokenFile = inDir('token', 'one\n');
    const credentials = new Credentials({ cluster, user: { name: 'u' }, tokenFile, origin: 'a test' });
    expect((await credentials.current()).headers).toEqual({ authorization: 'Bearer one' });
    inDir('token', 'two');
    expect((await credentials.current()).headers).toEqual({ authorization: 'Bearer one' });
    minutePasses();
    expect((await credentials.current()).headers).toEqual({ authorization: 'Bearer two' });
    rmSync(tokenFile);
    minutePasses();
    expect((await credentials.current()).headers).toEqual({ authorization: 'Bearer two' });
  });

  test('that never could be read is an error', async () => {
    const credentials = new Credentials({ cluster, user: { name: 'u' }, tokenFile: join(dir, 'no'), origin: 'a test' });
    await expect(credentials.current()).rejects.toThrow('ENOENT');
  });

  test('is read at once when the server refuses the token, and the request is sent again', async () => {
    const tokenFile = inDir('token', 'old');
    const server = await startScriptedServer((request, response) => {
      if (request.headers.authorization === 'Bearer new') answerJson(response, 201, {});
      else answerStatus(response, 401, 'Unauthorized');
    });
    const { user: _, ...config } = server.config;
    const client = KubeClient.connect({ ...config, user: { name: 'u' }, tokenFile }, { userAgent: 'x' });
    onTestFinished(async () => {
      await client.close();
      await server[Symbol.asyncDispose]();
    });
    await expect(client.create(NODES, {})).rejects.toMatchObject({ kind: 'unauthorized' });
    expect(server.requests).toHaveLength(1);
    inDir('token', 'new');
    await client.create(NODES, {});
    expect(server.requests.map((request) => request.headers.authorization)).toEqual([
      'Bearer old',
      'Bearer old',
      'Bearer new',
    ]);
  });
});

/** Answers with a new token each time and writes down that it was asked, and with what. */
const askablePlugin = () => {
  const script = inDir(
    'plugin',
    `#!/bin/sh
echo "$KUBERNETES_EXEC_INFO" >> "${dir}/asked"
n=$(wc -l < "${dir}/asked" | tr -d ' ')
echo '{"kind":"ExecCredential","status":{"token":"token-'$n'"}}'
`,
  );
  chmodSync(script, 0o755);
  const exec = { command: script, apiVersion: 'client.authentication.k8s.io/v1', provideClusterInfo: true };
  return new Credentials({ cluster, user: { name: 'u', exec }, origin: 'a test' });
};
const asked = () => readFileSync(join(dir, 'asked'), 'utf8').trim().split('\n');

describe('a credential plugin', () => {
  test('is asked once for many requests, and told what it is for', async () => {
    const credentials = askablePlugin();
    const all = await Promise.all([credentials.current(), credentials.current(), credentials.current()]);
    expect(all.map((access) => access.headers['authorization'])).toEqual(Array(3).fill('Bearer token-1'));
    expect(asked().map((line) => JSON.parse(line))).toEqual([
      {
        apiVersion: 'client.authentication.k8s.io/v1',
        kind: 'ExecCredential',
        spec: { interactive: false, cluster: { server: 'https://c.example' } },
      },
    ]);
  });

  test('is asked again only after a refusal, because its answer does not expire', async () => {
    const credentials = askablePlugin();
    const first = await credentials.current();
    minutePasses();
    expect((await credentials.current()).headers).toEqual(first.headers);
    credentials.reject(await credentials.current());
    expect((await credentials.current()).headers).toEqual({ authorization: 'Bearer token-2' });
    credentials.reject(first);
    await credentials.current();
    expect(asked()).toHaveLength(2);
  });
});

test('a rotated CA makes new connections, without a failed request in between', async () => {
  const [old, rotated] = await Promise.all([selfSigned('old'), selfSigned('rotated')]);
  const caFile = inDir('ca.crt', old.cert);
  const tls = createServer(old);
  await using server = await serve(
    (listener) => tls.on('request', listener),
    'https',
    (_, response) => {
      answerJson(response, 200, {});
    },
  );
  const cluster = { name: 'c', server: server.config.cluster.server, skipTLSVerify: false, caFile };
  const client = KubeClient.connect({ ...server.config, cluster }, { userAgent: 'x', connections: 1 });
  onTestFinished(() => client.close());

  await client.get(NODES, { name: 'n' });
  tls.setSecureContext(rotated);
  inDir('ca.crt', rotated.cert);
  await client.get(NODES, { name: 'n' });
  expect(server.connectionCount()).toBe(1);
  minutePasses();
  await client.get(NODES, { name: 'n' });
  expect(server.connectionCount()).toBe(2);

  tls.setSecureContext(old);
  server.cut();
  await expect(client.get(NODES, { name: 'n' }, { timeoutMs: 2000 })).rejects.toMatchObject({ kind: 'unavailable' });
});
