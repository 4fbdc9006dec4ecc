import canonicalize from 'canonicalize';
import type { Route, Slot, Values } from './contract.ts';
import { UpstreamError } from './errors.ts';

/** Values → one request of a contract. Only what has a slot is written; only {@link Values} can have one. */

export interface EncodedRequest {
  /** Path and query. */
  readonly target: string;
  /** Canonical JSON; undefined where the route takes no body. */
  readonly body: Buffer | undefined;
}

export function encode(route: Route, values: Values, doing: string): EncodedRequest {
  const need = (name: keyof Values): string => {
    const value = values[name];
    if (typeof value === 'string') return value;
    throw new UpstreamError(
      { kind: 'contract' },
      doing,
      `the route asks for ${name}, which is not known at this point`,
    );
  };
  const path = route.path.replaceAll(/\{([^}]+)\}/g, (_, name: string) =>
    encodeURIComponent(need(route.params[name] ?? 'clientRunId')),
  );
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(route.query))
    if (values[value] !== undefined) query.set(name, need(value));
  const target = query.size === 0 ? path : `${path}?${query.toString()}`;
  if (route.slots.length === 0) return { target, body: undefined };
  const body: Record<string, unknown> = {};
  for (const slot of route.slots) {
    const value = written(slot, values);
    if (value !== undefined) place(body, slot.at, value);
  }
  return { target, body: Buffer.from(canonicalize(body) ?? '{}') };
}

function written(slot: Slot, values: Values): unknown {
  const value = values[slot.value];
  if (value === undefined) return undefined;
  if (slot.value === 'manifest') return slot.form === 'Text' ? value : (JSON.parse(value as string) as unknown);
  if (slot.value === 'logLines' && slot.form === 'Text') return (value as readonly string[]).join('\n');
  return value;
}

function place(body: Record<string, unknown>, at: readonly string[], value: unknown): void {
  let node = body;
  for (const key of at.slice(0, -1)) node = (node[key] ??= {}) as Record<string, unknown>;
  const last = at.at(-1);
  if (last !== undefined) node[last] = value;
}
