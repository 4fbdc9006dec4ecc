import type { RuntimeIo } from '../contract.ts';
import { RuntimeError } from '../errors.ts';
import type { Operation } from '../vendor-http.ts';
import { page } from './answers.ts';
import { ask } from './client.ts';

/** Ends a list whose pages lead in a circle. */
const MOST_PAGES = 1000;

/**
 * The pages of one of the vendor's lists, newest first. `next` is a URL of the vendor's choice, and the library would
 * send the token there: only its cursor is taken, and asked for where everything else is.
 */
export async function* pages(
  io: RuntimeIo,
  operation: Operation,
  path: '/predictions' | '/files',
): AsyncGenerator<unknown[]> {
  let cursor: string | undefined;
  for (let count = 0; count < MOST_PAGES; count += 1) {
    const params = cursor === undefined ? {} : { cursor };
    const { results, next } = await ask(
      io,
      operation,
      async (replicate) => (await replicate.request(path, { params })).json(),
      page,
    );
    yield results;
    if (next === undefined) return;
    cursor = URL.canParse(next) ? (new URL(next).searchParams.get('cursor') ?? undefined) : undefined;
    if (cursor === undefined) throw unfinished(operation);
  }
  throw unfinished(operation);
}

/** An incomplete list must not pass for a complete one: what is not in it would be bought again. */
const unfinished = ({ name }: Operation) =>
  new RuntimeError({ kind: 'terminal' }, `replicate ${name}: the list does not say how it goes on`);
