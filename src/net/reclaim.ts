import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * V8 looks at the size of its own objects when it decides to collect, hardly at the buffers that hang on them: a stream of
 * gigabytes leaves a hundred megabytes of dead 64 KiB chunks before it does. Asking for a young collection now and then
 * costs less than a millisecond and keeps memory flat.
 */
const EVERY_BYTES = 512 * 1024;

let streamed = 0;
let collect: ((options: { type: 'minor' }) => void) | undefined;

/** Tells of bytes that were streamed through memory and are done with. */
export function reclaim(bytes: number): void {
  streamed += bytes;
  if (streamed < EVERY_BYTES) return;
  streamed = 0;
  if (collect === undefined) {
    setFlagsFromString('--expose-gc');
    collect = runInNewContext('gc') as typeof collect;
  }
  collect?.({ type: 'minor' });
}
