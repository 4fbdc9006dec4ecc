import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { KubeClient } from './client.ts';
import type { ClusterConfig } from './config.ts';
import { ObservedTransport } from './observed-transport.ts';
import { NAMESPACES } from './resource.ts';
import { HttpTransport } from './http-transport.ts';

test('every request is told with its status, one that is repeated each time, and one without an answer as <error>', async () => {
  const answers = [503, 200, 404];
  const server = createServer((_, response) => {
    const status = answers.shift();
    if (status === undefined) response.destroy();
    else response.writeHead(status, { 'content-type': 'application/json', 'retry-after': '0' }).end('{}');
  }).listen(0);
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const config = {
    cluster: { server: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, skipTLSVerify: true },
    user: {},
  } as unknown as ClusterConfig;
  const seen: string[] = [];
  const transport = new HttpTransport(config, { userAgent: 'test' });
  const client = new KubeClient(new ObservedTransport(transport, (code, method) => seen.push(`${method} ${code}`)));
  onTestFinished(() => client.close());
  const namespace = { metadata: { name: 'a' } };
  await client.get(NAMESPACES, { name: 'a' });
  await expect(client.get(NAMESPACES, { name: 'a' })).rejects.toThrow(/GET/);
  await expect(client.create(NAMESPACES, namespace)).rejects.toThrow(/POST/);
  expect(seen).toEqual(['GET 503', 'GET 200', 'GET 404', 'POST <error>']);
});
