import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { pushImage } from '../../../scripts/release/push.ts';
import { BUILD_TIMEOUT_MS, goTool } from '../../../scripts/tools/go-tool.ts';
import { run, until } from '../../cluster/process.ts';
import { busyboxImage } from '../../cluster/small-images.ts';
import { freePort } from '../../e2e/operator-process.ts';

/** `npm run images -- --push`, against a registry of its own. */

let registry: ChildProcess;
let address: string;
let crane: string;
let archive: string;

beforeAll(async () => {
  crane = await goTool('crane');
  archive = await busyboxImage();
  address = `127.0.0.1:${await freePort()}`;
  registry = spawn(crane, ['registry', 'serve', '--address', address], { stdio: 'ignore' });
  await until(
    'the registry',
    () =>
      fetch(`http://${address}/v2/`)
        .then((answer) => answer.ok || undefined)
        .catch(() => undefined),
    {
      timeoutMs: 30_000,
    },
  );
}, BUILD_TIMEOUT_MS);

afterAll(() => registry?.kill());

test('an archive is pushed under its tag, and named by the digest that the registry has', async () => {
  const pushed = await pushImage(archive, `${address}/worldflux/busybox:1`, { insecure: true });
  expect(pushed).toMatch(new RegExp(`^${address}/worldflux/busybox@sha256:[0-9a-f]{64}$`));
  const accept = 'application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json';
  const answer = await fetch(`http://${address}/v2/worldflux/busybox/manifests/1`, { headers: { accept } });
  const digest = createHash('sha256')
    .update(Buffer.from(await answer.arrayBuffer()))
    .digest('hex');
  expect(pushed).toBe(`${address}/worldflux/busybox@sha256:${digest}`);
  expect(await run([crane, 'validate', '--insecure', '--remote', pushed])).toContain('PASS');
  // Once more, as after a failed release: the same digest, whatever was there.
  expect(await pushImage(archive, `${address}/worldflux/busybox:1`, { insecure: true })).toBe(pushed);
});

test('a registry that does not answer is an error with its words', async () => {
  const nowhere = `127.0.0.1:${await freePort()}`;
  await expect(pushImage(archive, `${nowhere}/busybox:1`, { insecure: true })).rejects.toThrow(/connection refused/);
});
