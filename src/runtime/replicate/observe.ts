import type { Handle, RuntimeIo, WorkState } from '../contract.ts';
import { isRuntimeError } from '../errors.ts';
import type { Operation } from '../vendor-http.ts';
import { prediction, PREDICTION_ID } from './answers.ts';
import { ask } from './client.ts';
import { isRefused } from './faults.ts';
import { pages } from './pages.ts';
import { workState } from './work-state.ts';

/** From so many on, a page of the list is cheaper than asking one by one. */
const LIST_PAYS = 3;
const AT_ONCE = 8;
/** Asked one by one in one call; the rest waits for the next one. */
const MOST_SINGLE = 200;

/**
 * Where predictions stand. The list is read as long as a page tells of more than one of them; what is then missing is
 * asked for by its id.
 */
export class Observer {
  readonly #graceMs: number;
  #turn = 0;

  /** `graceMs`: how long after its creation a prediction may be unknown to the vendor without being gone. */
  constructor(graceMs: number) {
    this.#graceMs = graceMs;
  }

  async observe(handles: readonly Handle[], io: RuntimeIo): Promise<ReadonlyMap<string, WorkState>> {
    const states = new Map<string, WorkState>();
    const wanted = new Map<string, Handle>();
    for (const handle of handles) {
      // A person may have given the id; one that none can have is not put into a path.
      if (PREDICTION_ID.test(handle.externalId)) wanted.set(handle.externalId, handle);
      else states.set(handle.externalId, { at: 'gone' });
    }
    await this.#readList(wanted, states, io);
    await this.#askEach([...wanted.values()], states, io);
    return states;
  }

  /** Takes what it finds out of `wanted`. */
  async #readList(wanted: Map<string, Handle>, states: Map<string, WorkState>, io: RuntimeIo): Promise<void> {
    if (wanted.size < LIST_PAYS) return;
    try {
      const operation = { class: 'polling', name: 'prediction list', ...askedOf([...wanted.values()]) } as const;
      for await (const rows of pages(io, operation, '/predictions')) {
        let found = 0;
        for (const row of rows) {
          const { data } = prediction.safeParse(row);
          if (data === undefined || !wanted.delete(data.id)) continue;
          states.set(data.id, workState(data, io.credentials, io.now()));
          found += 1;
        }
        if (found < 2 || wanted.size < LIST_PAYS) return;
      }
    } catch (error) {
      // A page that is too long or leads nowhere: one by one it still goes.
      if (!isRuntimeError(error, 'terminal')) throw error;
    }
  }

  async #askEach(wanted: readonly Handle[], states: Map<string, WorkState>, io: RuntimeIo): Promise<void> {
    const from = wanted.length <= MOST_SINGLE ? 0 : this.#turn % wanted.length;
    this.#turn = from + MOST_SINGLE;
    const queue = [...wanted.slice(from), ...wanted.slice(0, from)].slice(0, MOST_SINGLE);
    let problem: unknown;
    let over = false;
    const worker = async (): Promise<void> => {
      for (let handle = queue.shift(); handle !== undefined && !over; handle = queue.shift()) {
        try {
          const state = await this.#stateOf(handle, io);
          if (state !== undefined) states.set(handle.externalId, state);
        } catch (error) {
          problem ??= error;
          // One that failed may be looked at next time; a vendor that wants to be left alone is.
          over ||= !isRuntimeError(error, 'retryable', 'terminal', 'user');
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    if (problem !== undefined && states.size === 0) throw problem;
  }

  async #stateOf(handle: Handle, io: RuntimeIo): Promise<WorkState | undefined> {
    const { externalId, createdAt } = handle;
    try {
      const answer = await ask(
        io,
        { class: 'polling', name: 'prediction get', ...askedOf([handle]) },
        (replicate) => replicate.predictions.get(externalId),
        prediction,
      );
      return workState(answer, io.credentials, io.now());
    } catch (error) {
      if (!isRefused(error, 404)) throw error;
      return io.now() - createdAt < this.#graceMs ? undefined : { at: 'gone' };
    }
  }
}

/** What all of them were asked for; nothing where that differs, because the call serves each of them. */
export function askedOf(handles: readonly Handle[]): Pick<Operation, 'capability'> {
  const [capability, ...others] = new Set(handles.map((handle) => handle.capability));
  return capability === undefined || others.length > 0 ? {} : { capability };
}
