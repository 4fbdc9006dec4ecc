import { encodings, fingerprint, type FingerprintSet } from './fingerprints.ts';
import { REDACTED, redactText } from './redaction.ts';

/** Shorter ones would hide ordinary words. Characters, of a value and of each of its encodings alike. */
const SHORTEST = 8;
/** A Secret whose value changes by the minute must not grow this for ever. */
const VALUES_KEPT = 16;

/**
 * The values of the Secrets that this process has read: whatever leaves it is searched for them, in every usual encoding.
 * That is the only way to find a secret that looks like nothing in the words of a vendor.
 */
export class SecretsInUse {
  /** Newest last. */
  readonly #values = new Map<string, string[]>();
  /** Encodings by their first {@link SHORTEST} characters: searching a text costs the same however many there are. */
  #forms = new Map<string, string[]>();
  #fingerprints: FingerprintSet | undefined;
  #revision = 0;

  /** Another number whenever a text may come out otherwise. */
  get revision(): number {
    return this.#revision;
  }

  /**
   * Values of one owner, such as `secret/worldflux-system/replicate`. Those that it had before are still looked for:
   * requests under way carry them.
   */
  add(values: Iterable<string>, owner: string): void {
    const known = this.#values.get(owner) ?? [];
    const added = [...new Set(values)].filter((value) => value.length >= SHORTEST && !known.includes(value));
    if (added.length === 0) return;
    this.#values.set(owner, [...known, ...added].slice(-VALUES_KEPT));
    this.#index();
  }

  remove(owner: string): void {
    if (this.#values.delete(owner)) this.#index();
  }

  /** The text with every value, encoded or not, replaced. */
  mask(text: string): string {
    if (this.#forms.size === 0 || text.length < SHORTEST) return text;
    const out: string[] = [];
    let copied = 0;
    for (let at = 0; at + SHORTEST <= text.length; at += 1) {
      const form = this.#forms.get(text.slice(at, at + SHORTEST))?.find((one) => text.startsWith(one, at));
      if (form === undefined) continue;
      out.push(text.slice(copied, at), REDACTED);
      copied = at + form.length;
      at = copied - 1;
    }
    return copied === 0 ? text : out.join('') + text.slice(copied);
  }

  /** For streams, which are searched in pieces. */
  fingerprints(): FingerprintSet {
    const values = [...this.#values.values()].flat().map((value) => Buffer.from(value));
    this.#fingerprints ??= fingerprint(values, Infinity);
    return this.#fingerprints;
  }

  #index(): void {
    this.#forms = new Map();
    this.#fingerprints = undefined;
    this.#revision += 1;
    for (const value of [...this.#values.values()].flat()) {
      for (const form of encodings(Buffer.from(value)).map((bytes) => bytes.toString('utf8'))) {
        if (form.length < SHORTEST || form.trim() === '') continue;
        const head = form.slice(0, SHORTEST);
        const known = this.#forms.get(head) ?? [];
        // The longest first: base64 with its padding-free tail must not leave the rest standing.
        if (!known.includes(form))
          this.#forms.set(
            head,
            [...known, form].toSorted((a, b) => b.length - a.length),
          );
      }
    }
  }
}

/** The process's own: log, status and events end here, whoever read the Secret. */
export const secretsInUse = new SecretsInUse();

/** A document as it may be written to the API server: no value in use stands in it, as a text or as a name. */
export function withoutSecrets<T>(document: T): T {
  const text = JSON.stringify(document);
  const masked = secretsInUse.mask(text);
  return masked === text ? document : (JSON.parse(masked) as T);
}

/**
 * For every text that leaves the process: known values first (a pattern might take a part of one and leave the rest),
 * then whatever looks like a secret. To be asked before a text is cut, or half a secret passes for none.
 */
export function redact(text: string): string {
  return redactText(secretsInUse.mask(text)).text;
}
