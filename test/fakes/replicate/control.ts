import type { FastifyInstance } from 'fastify';
import type { SeenRequest } from './api.ts';
import { type Fault, type FaultScript, type OperationName, OPERATIONS } from './faults.ts';
import type { Behaviour, ReplicateState } from './state.ts';

/**
 * The fake held by another process, below `/_control`: no part of the vendor's API and without a token.
 *
 * GET  /_control            counters
 * GET  /_control/predictions everything that was ever created
 * GET  /_control/requests   the log (?operation=create)
 * POST /_control/faults     one fault, or a list of them
 * PATCH /_control/state     listLagMs, suspended, tokens, pageSize, removeAfterMs, outputsLastMs, behaviour, skipMs
 */
export interface ControlParts {
  state: ReplicateState;
  faults: FaultScript;
  log: SeenRequest[];
  violations: string[];
}

export interface StateChange {
  listLagMs?: number;
  suspended?: boolean;
  /** All tokens that are good from now on. */
  tokens?: string[];
  pageSize?: number;
  removeAfterMs?: number;
  outputsLastMs?: number;
  behaviour?: Partial<Behaviour>;
  /** Lets that much time pass at the vendor. */
  skipMs?: number;
}

export function addControl(app: FastifyInstance, { state, faults, log, violations }: ControlParts): void {
  app.get('/_control', () => ({
    created: state.created,
    live: state.live,
    requests: countRequests(log),
    unusedFaults: faults.unused,
    violations,
  }));
  app.get('/_control/predictions', () =>
    [...state.predictions.values()].map((prediction) => ({
      id: prediction.id,
      createdAt: prediction.createdAt,
      canceledAt: prediction.canceledAt ?? null,
      input: prediction.input,
      ...prediction.target,
      ...state.statusOf(prediction),
    })),
  );
  app.get('/_control/requests', (request) => {
    const { operation } = request.query as { operation?: string };
    return log
      .filter((seen) => operation === undefined || seen.operation === operation)
      .map(({ at, operation, method, url, status, body }) => ({ at, operation, method, url, status, body }));
  });
  app.post('/_control/faults', (request, reply) => {
    const wanted = request.body as Fault | Fault[];
    faults.add(...(Array.isArray(wanted) ? wanted : [wanted]));
    return reply.code(204).send();
  });
  app.patch('/_control/state', (request, reply) => {
    const { tokens, behaviour, skipMs, ...plain } = request.body as StateChange;
    Object.assign(state, plain);
    if (behaviour !== undefined) state.behaviour = { ...state.behaviour, ...behaviour };
    if (skipMs !== undefined) state.skip(skipMs);
    if (tokens !== undefined) {
      state.tokens.clear();
      for (const token of tokens) state.tokens.add(token);
    }
    return reply.code(204).send();
  });
}

export function countRequests(log: readonly SeenRequest[]): Record<OperationName, number> {
  const counts = Object.fromEntries(OPERATIONS.map((operation) => [operation, 0])) as Record<OperationName, number>;
  for (const { operation } of log) if (operation !== 'unknown') counts[operation] += 1;
  return counts;
}
