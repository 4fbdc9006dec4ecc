import { GuardedHttp } from '../../net/http.ts';
import type { UrlPolicy } from '../../net/url-guard.ts';
import { readContract } from '../../upstream/client.ts';
import { PINNED, verdictOf, type Contract } from '../../upstream/contract.ts';
import { UpstreamError } from '../../upstream/errors.ts';
import type { ProviderEventRecorder } from '../../telemetry/provider-events.ts';
import type { Clock } from './ports.ts';

/** One base URL under one set of network rules: its connections, and what is known of its API. */
export class Endpoint {
  readonly http: GuardedHttp;
  readonly events: ProviderEventRecorder;
  readonly #baseURL: string;
  readonly #clock: Clock;
  readonly #onContract: (contract: Contract) => void;
  #known: { contract: Contract; freshUntil: number } | undefined;
  #reading: Promise<Contract> | undefined;
  readonly #closed = new AbortController();

  constructor(
    baseURL: string,
    policy: UrlPolicy,
    connections: number,
    clock: Clock,
    events: ProviderEventRecorder,
    onContract: (contract: Contract) => void,
  ) {
    this.http = new GuardedHttp(policy, { connections });
    this.#baseURL = baseURL;
    this.#clock = clock;
    this.events = events;
    this.#onContract = onContract;
  }

  /** What was last read, without asking. */
  get contract(): Contract | undefined {
    return this.#known?.contract;
  }

  /** Reads `/openapi.json` once in six hours and after {@link expire}. Throws an UpstreamError when nobody answers. */
  async readContract(): Promise<Contract> {
    if (this.#known !== undefined && this.#clock.now() < this.#known.freshUntil) return this.#known.contract;
    // One read for however many runs wait for it, so it does not end with any of them.
    this.#reading ??= this.#read().finally(() => (this.#reading = undefined));
    return this.#reading;
  }

  /** A request did not fit: the API may have changed. */
  expire(): void {
    if (this.#known !== undefined) this.#known.freshUntil = Number.NEGATIVE_INFINITY;
  }

  async close(): Promise<void> {
    this.#closed.abort();
    await this.http.close();
  }

  async #read(): Promise<Contract> {
    const before = this.#known?.contract;
    let lastsMs = CONTRACT_MS;
    const read = await readContract(this.http, this.#baseURL, this.events, this.#closed.signal).catch(
      (error: unknown) => {
        if (!(error instanceof UpstreamError) || error.fault.kind !== 'unavailable') throw error;
        // The description can fail alone, and the routes work. Whether the API is well is asked next.
        lastsMs = UNREAD_MS;
        return before ?? PINNED;
      },
    );
    // The same document means the same contract; what was derived from it is kept.
    const contract =
      before !== undefined && before.source === read.source && before.digest === read.digest ? before : read;
    this.#known = { contract, freshUntil: this.#clock.now() + lastsMs };
    if (before === undefined || verdictOf(before).message !== verdictOf(contract).message) this.#onContract(contract);
    return contract;
  }
}

const CONTRACT_MS = 6 * 3600 * 1000;
const UNREAD_MS = 5 * 60 * 1000;
