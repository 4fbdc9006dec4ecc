import { join } from 'node:path';
import { fileEntry, writeImage, type Entry } from './archive.ts';
import { cached, digest, pauseBinary } from './build.ts';
import { SANDBOX_IMAGE } from './node.ts';
import { run } from './process.ts';

/** Change it when the way an image is laid out changes: it is part of the cache key. */
const LAYOUT = '1';
export const BUSYBOX_IMAGE = 'localhost/worldflux/busybox:1';

/** Archive of the image that holds a pod's sandbox, tagged `SANDBOX_IMAGE`. */
export async function pauseImage(signal?: AbortSignal): Promise<string> {
  const binary = await pauseBinary(signal);
  const key = `image-pause-${digest([LAYOUT, SANDBOX_IMAGE, binary])}`;
  const directory = await cached(key, async (into) => {
    const entries = [await fileEntry('pause', binary)];
    await writeImage(join(into, 'image.tar'), {
      tag: SANDBOX_IMAGE,
      entries,
      config: { Entrypoint: ['/pause'], User: '65535:65535' },
    });
  });
  return join(directory, 'image.tar');
}

/** Archive of a shell with the usual small commands, tagged `BUSYBOX_IMAGE`; needs the host's `busybox` to be the static one. */
export async function busyboxImage(): Promise<string> {
  const binary = '/bin/busybox';
  const version = (await run([binary])).split('\n')[0] ?? '';
  const directory = await cached(`image-busybox-${digest([LAYOUT, BUSYBOX_IMAGE, version])}`, async (into) => {
    const commands = (await run([binary, '--list'])).trim().split('\n');
    const entries: Entry[] = [
      { path: 'bin/', mode: 0o755 },
      await fileEntry('bin/busybox', binary),
      ...commands
        .filter((c) => c !== 'busybox')
        .map((command) => ({ path: `bin/${command}`, mode: 0o777, link: 'busybox' })),
      { path: 'etc/', mode: 0o755 },
      {
        path: 'etc/passwd',
        mode: 0o644,
        content: Buffer.from('root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n'),
      },
      { path: 'etc/group', mode: 0o644, content: Buffer.from('root:x:0:\nnogroup:x:65534:\n') },
      { path: 'root/', mode: 0o700 },
      { path: 'tmp/', mode: 0o1777 },
    ];
    await writeImage(join(into, 'image.tar'), {
      tag: BUSYBOX_IMAGE,
      entries,
      config: { Cmd: ['/bin/sh'], Env: ['PATH=/bin'] },
    });
  });
  return join(directory, 'image.tar');
}
