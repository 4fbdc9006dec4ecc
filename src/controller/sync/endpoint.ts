import { GuardedHttp } from '../../net/http.ts';
import type { UrlPolicy } from '../../net/url-guard.ts';
import { readContract } from '../../upstream/client.ts';
import { verdictOf, type Contract } from '../../upstream/contract.ts';
import type { ProviderEventRecorder } from '../../telemetry/provider-events.ts';
import type { Clock } from './ports.ts';

/** One base URL under one set of network rules: its connections, and what is known of its API. */
export class Endpoint {
  readonly http: GuardedHttp;
  readonly events: ProviderEventRecorder;
  readonly #baseURL: string;
  readonly #clock: Clock;
  readonly #onContract: (contract: Contract) => void;
  #known: { contract: Contract; readAt: number } | undefined;
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
    if (this.#known !== undefined && this.#clock.now() - this.#known.readAt < CONTRACT_MS) return this.#known.contract;
    // One read for however many runs wait for it, so it does not end with any of them.
    this.#reading ??= this.#read().finally(() => (this.#reading = undefined));
    return this.#reading;
  }

  /** A request did not fit: the API may have changed. */
  expire(): void {
    if (this.#known !== undefined) this.#known.readAt = Number.NEGATIVE_INFINITY;
  }

  async close(): Promise<void> {
    this.#closed.abort();
    await this.http.close();
  }

  async #read(): Promise<Contract> {
    const read = await readContract(this.http, this.#baseURL, this.events, this.#closed.signal);
    const before = this.#known?.contract;
    // The same document means the same contract; what was derived from it is kept.
    const contract =
      before !== undefined && before.source === read.source && before.digest === read.digest ? before : read;
    this.#known = { contract, readAt: this.#clock.now() };
    if (before === undefined || verdictOf(before).message !== verdictOf(contract).message) this.#onContract(contract);
    return contract;
  }
}

const CONTRACT_MS = 6 * 3600 * 1000;
