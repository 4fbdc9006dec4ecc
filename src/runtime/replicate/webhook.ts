import { createHmac, timingSafeEqual } from 'node:crypto';
import type { RuntimeIo } from '../contract.ts';
import { PREDICTION_ID, webhookSecret } from './answers.ts';
import { ask } from './client.ts';

/**
 * Notices from the vendor. They are hints that somebody should look sooner, never facts: a prediction's state is only
 * taken from an answer to our own question.
 *
 * The vendor's library checks neither the time nor in constant time, and takes any version of signature; so it is not
 * used here.
 */

export interface WebhookDelivery {
  /** `webhook-id`: the same when a notice is sent again. */
  readonly id: string | undefined;
  /** `webhook-timestamp`: seconds since the epoch. */
  readonly timestamp: string | undefined;
  /** `webhook-signature`: `v1,<base64>`, several with spaces between while a key is exchanged. */
  readonly signature: string | undefined;
  /** As it came, not parsed and written again. */
  readonly body: Buffer;
}

export type WebhookVerdict =
  | { readonly ok: true; readonly id: string }
  | { readonly ok: false; readonly why: 'incomplete' | 'untimely' | 'unsigned' };

/** How far a delivery's time may lie from ours; milliseconds. */
export const TOLERANCE_MS = 5 * 60 * 1000;
const LONGEST_HEADER = 4096;
const MOST_SIGNATURES = 8;

/** Whether the vendor sent it, now. Pure. `secrets`: `whsec_` and base64; `now`: milliseconds since the epoch. */
export function verifyWebhook(delivery: WebhookDelivery, secrets: readonly string[], now: number): WebhookVerdict {
  const { id, timestamp, signature, body } = delivery;
  if (id === undefined || timestamp === undefined || signature === undefined) return { ok: false, why: 'incomplete' };
  if (!/^[\w.-]{1,256}$/.test(id) || !/^\d{1,12}$/.test(timestamp) || signature.length > LONGEST_HEADER)
    return { ok: false, why: 'incomplete' };
  if (Math.abs(Number(timestamp) * 1000 - now) > TOLERANCE_MS) return { ok: false, why: 'untimely' };
  const given = signature
    .split(' ', MOST_SIGNATURES)
    .flatMap((one) => (one.startsWith('v1,') ? [Buffer.from(one.slice(3), 'base64')] : []));
  const signed = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), body]);
  let matches = false;
  for (const secret of secrets) {
    const key = keyOf(secret);
    if (key === undefined) continue;
    const right = createHmac('sha256', key).update(signed).digest();
    // All of them, so that the time does not tell which was close.
    for (const one of given) if (one.length === right.length && timingSafeEqual(one, right)) matches = true;
  }
  return matches ? { ok: true, id } : { ok: false, why: 'unsigned' };
}

/** Undefined for what is no key: an empty one would sign anything. */
function keyOf(secret: string): Buffer | undefined {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  return key.length < 16 ? undefined : key;
}

/** The key with which the account's deliveries are signed. Throws RuntimeError. */
export async function fetchWebhookSecret(io: RuntimeIo): Promise<string> {
  const { key } = await ask(
    io,
    { class: 'health', name: 'webhook secret get' },
    (replicate) => replicate.webhooks.default.secret.get(),
    webhookSecret,
  );
  return key;
}

/** Asked for again after a delivery that did not fit: the key may have been exchanged. Not sooner than this; milliseconds. */
const KEY_AGAIN_MS = 60_000;
const KEY_LASTS_MS = 3600 * 1000;

/**
 * The account's key without asking for it each time. `doubt` says that a delivery did not fit it: whoever posts rubbish
 * makes us ask the vendor once a minute, no more.
 */
export class WebhookSecrets {
  readonly #fetch: () => Promise<string>;
  readonly #now: () => number;
  #known: { key: string; at: number } | undefined;

  constructor(fetch: () => Promise<string>, now: () => number = Date.now) {
    this.#fetch = fetch;
    this.#now = now;
  }

  /** Throws what fetching it throws. */
  async get(): Promise<readonly string[]> {
    if (this.#known === undefined || this.#now() - this.#known.at >= KEY_LASTS_MS) await this.#ask();
    return this.#known === undefined ? [] : [this.#known.key];
  }

  /** Whether there is another key now. Throws what fetching it throws. */
  async doubt(): Promise<boolean> {
    const known = this.#known;
    if (known !== undefined && this.#now() - known.at < KEY_AGAIN_MS) return false;
    await this.#ask();
    return this.#known?.key !== known?.key;
  }

  async #ask(): Promise<void> {
    this.#known = { key: await this.#fetch(), at: this.#now() };
  }
}

/** Deliveries that were acted on, for as long as their time would still pass. */
class Seen {
  readonly #until = new Map<string, number>();
  readonly #most: number;

  constructor(most: number) {
    this.#most = most;
  }

  /** False for one that was here before. */
  admit(id: string, now: number): boolean {
    for (const [known, until] of this.#until) {
      if (until > now && this.#until.size < this.#most) break;
      this.#until.delete(known);
    }
    if (this.#until.has(id)) return false;
    this.#until.set(id, now + 2 * TOLERANCE_MS);
    return true;
  }
}

export interface WebhookOptions {
  readonly secrets: WebhookSecrets;
  /** Look at this prediction now. */
  readonly onHint: (externalId: string) => void;
  readonly now?: () => number;
}

const MOST_REMEMBERED = 10_000;

/**
 * Answers one delivery with a status: 204 taken (or seen before), 400 not understood, 401 not from the vendor or not
 * from now, 503 cannot be told. `headers`: lower-case names; `body`: the raw bytes.
 */
export class WebhookReceiver {
  readonly #o: WebhookOptions;
  readonly #seen = new Seen(MOST_REMEMBERED);

  constructor(options: WebhookOptions) {
    this.#o = options;
  }

  async receive(
    headers: Readonly<Record<string, string | string[] | undefined>>,
    body: Buffer,
  ): Promise<204 | 400 | 401 | 503> {
    const now = (this.#o.now ?? Date.now)();
    const header = (name: string): string | undefined => {
      const value = headers[name];
      return typeof value === 'string' ? value : undefined;
    };
    const delivery: WebhookDelivery = {
      id: header('webhook-id'),
      timestamp: header('webhook-timestamp'),
      signature: header('webhook-signature'),
      body,
    };
    const { secrets } = this.#o;
    let verdict: WebhookVerdict;
    try {
      verdict = verifyWebhook(delivery, await secrets.get(), now);
      if (!verdict.ok && verdict.why === 'unsigned' && (await secrets.doubt()))
        verdict = verifyWebhook(delivery, await secrets.get(), now);
    } catch {
      return 503;
    }
    if (!verdict.ok) return verdict.why === 'incomplete' ? 400 : 401;
    const externalId = idIn(body);
    if (externalId === undefined) return 400;
    if (this.#seen.admit(verdict.id, now)) this.#o.onHint(externalId);
    return 204;
  }
}

function idIn(body: Buffer): string | undefined {
  try {
    const { id } = JSON.parse(body.toString('utf8')) as { id?: unknown };
    return typeof id === 'string' && PREDICTION_ID.test(id) ? id : undefined;
  } catch {
    return undefined;
  }
}
