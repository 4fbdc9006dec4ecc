import { errorFromStatus, kubeError } from './errors.ts';
import type { KubeObject } from './resource.ts';

/** One line of a watch. A bookmark's object carries nothing but its resource version. */
export interface WatchEvent<T extends KubeObject> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  readonly object: T;
}

/** Ends the initial events of a streaming list. */
const INITIAL_EVENTS_END = 'k8s.io/initial-events-end';

export function endsInitialEvents(event: WatchEvent<KubeObject>): boolean {
  return event.type === 'BOOKMARK' && event.object.metadata?.annotations?.[INITIAL_EVENTS_END] === 'true';
}

/**
 * Cuts a byte stream into watch events. Throws a KubeError for an `ERROR` event, for a line that is no event, and for a
 * stream that ends inside a line: a lost event must be noticed, because nothing repeats it.
 */
export async function* readWatchEvents<T extends KubeObject>(
  chunks: AsyncIterable<Buffer>,
  request: string,
): AsyncGenerator<WatchEvent<T>> {
  for await (const line of lines(chunks, request)) yield parseEvent<T>(line, request);
}

/** Lines as buffers, because a chunk may end inside a character as well as inside a line. */
async function* lines(chunks: AsyncIterable<Buffer>, request: string): AsyncGenerator<string> {
  let rest: Buffer[] = [];
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      const tail = chunk.subarray(start, end);
      const line = rest.length === 0 ? tail : Buffer.concat([...rest, tail]);
      rest = [];
      start = end + 1;
      if (line.length > 0) yield line.toString('utf8');
    }
    if (start < chunk.length) rest.push(chunk.subarray(start));
  }
  if (rest.length > 0) throw kubeError({ kind: 'unavailable' }, 'the watch ended inside a line', { request });
}

function parseEvent<T extends KubeObject>(line: string, request: string): WatchEvent<T> {
  let event: { type?: unknown; object?: unknown };
  try {
    event = JSON.parse(line) as typeof event;
  } catch (cause) {
    throw kubeError({ kind: 'unexpected' }, 'a line of the watch is not JSON', { request, cause });
  }
  if (typeof event?.object === 'object' && event.object !== null) {
    if (event.type === 'ERROR') throw errorFromStatus(request, event.object);
    if (isEventType(event.type)) return { type: event.type, object: event.object as T };
  }
  throw kubeError({ kind: 'unexpected' }, 'a line of the watch is not an event', { request });
}

function isEventType(type: unknown): type is WatchEvent<KubeObject>['type'] {
  return type === 'ADDED' || type === 'MODIFIED' || type === 'DELETED' || type === 'BOOKMARK';
}
