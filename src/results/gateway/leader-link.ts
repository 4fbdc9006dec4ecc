import { Agent, request } from 'node:https';
import { checkServerIdentity } from 'node:tls';

/** Which replica decides about runs, as a replica's gateway must know it. */
export interface Leadership {
  /** This replica does. */
  leads(): boolean;
  /** `host:port` of the gateway of the one that does; undefined where nobody is known to, or it said no address. */
  leader(): string | undefined;
}

export interface LeaderLinkOptions {
  leadership: Leadership;
  /** The name in every replica's certificate. */
  serverName: string;
  /** Signs those certificates. */
  caPem: () => string;
}

/** What a leader said, to be handed on as it is. */
export interface LeaderAnswer {
  status: number;
  body: string;
  retryAfter: string | undefined;
}

/** On a request that a standby hands on: it is never handed on again. */
export const PASSED_ON = 'x-worldflux-passed-on';

/** Milliseconds. A collector whose pod is about to be killed has two seconds or little more. */
const TIMEOUT = 2_000;
/** A leader that did not answer is not asked again for so long; its Lease runs out meanwhile, if it is dead. */
const PAUSE = 3_000;
const LARGEST_ANSWER = 64 * 1024;

/**
 * From a standby's gateway to the leader's: what a collector says must be heard where it is decided. Bytes of artifacts
 * never come this way, and the collector's own token proves to the leader who speaks.
 */
export class LeaderLink {
  readonly #options: LeaderLinkOptions;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 32 });
  #silent: { address: string; until: number } | undefined;

  constructor(options: LeaderLinkOptions) {
    this.#options = options;
  }

  /** Undefined where nobody else leads, or the one who should does not answer: then this replica answers itself. */
  async pass(path: string, authorization: string, body: object): Promise<LeaderAnswer | undefined> {
    const address = this.#options.leadership.leader();
    if (address === undefined) return undefined;
    if (this.#silent?.address === address && performance.now() < this.#silent.until) return undefined;
    try {
      const answer = await this.#post(address, path, authorization, JSON.stringify(body));
      // It leads no longer, or not yet; or its store does not answer, and ours may.
      return answer.status === 503 ? undefined : answer;
    } catch {
      this.#silent = { address, until: performance.now() + PAUSE };
      return undefined;
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  async #post(address: string, path: string, authorization: string, body: string): Promise<LeaderAnswer> {
    const { serverName, caPem } = this.#options;
    return new Promise((resolve, reject) => {
      const sent = request(
        new URL(path, `https://${address}`),
        {
          method: 'POST',
          agent: this.#agent,
          ca: caPem(),
          // Its certificate names the Service of all replicas and not the address of one.
          checkServerIdentity: (_, certificate) => checkServerIdentity(serverName, certificate),
          signal: AbortSignal.timeout(TIMEOUT),
          headers: {
            authorization,
            'content-type': 'application/json',
            'content-length': String(Buffer.byteLength(body)),
            [PASSED_ON]: '1',
          },
        },
        (response) => {
          let text = '';
          response.setEncoding('utf8');
          response.on('data', (chunk: string) => {
            text += chunk;
            if (text.length > LARGEST_ANSWER) sent.destroy(new Error('the answer is too large'));
          });
          response.once('error', reject);
          response.once('end', () =>
            resolve({ status: response.statusCode ?? 0, body: text, retryAfter: response.headers['retry-after'] }),
          );
        },
      );
      sent.once('error', reject);
      sent.end(body);
    });
  }
}
