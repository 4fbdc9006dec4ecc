import { createReadStream, statSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';

/** The API server's own record of who wrote what. */

interface AuditEvent {
  stage: string;
  verb: string;
  userAgent?: string;
  objectRef?: { resource?: string; subresource?: string };
  responseStatus?: { code?: number };
}

export interface Writes {
  /** Answered with success, without leases. */
  count: number;
  /** `create jobs`, `patch worldruns/status`, ... */
  byKind: Record<string, number>;
  /** Answered with 409, and with any other refusal. */
  conflicts: number;
  refused: number;
}

const WRITES = new Set(['create', 'update', 'patch', 'delete', 'deletecollection']);

export class AuditLog {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** Where the log ends now. */
  mark(): number {
    return statSync(this.#path).size;
  }

  /** What a client with this user agent wrote since the mark. */
  async writesSince(mark: number, agent: string): Promise<Writes> {
    // The log is written behind the answers.
    await pause(500);
    const writes: Writes = { count: 0, byKind: {}, conflicts: 0, refused: 0 };
    const lines = createInterface({ input: createReadStream(this.#path, { start: mark }) });
    for await (const line of lines) {
      // Most lines are of others; parsing all of them would take longer than the measurement.
      if (!line.includes(agent) || !line.endsWith('}')) continue;
      const event = JSON.parse(line) as AuditEvent;
      if (event.stage !== 'ResponseComplete' || event.userAgent?.startsWith(agent) !== true) continue;
      const { resource = '', subresource } = event.objectRef ?? {};
      if (!WRITES.has(event.verb) || resource === 'leases') continue;
      const code = event.responseStatus?.code ?? 0;
      if (code === 409) writes.conflicts += 1;
      else if (code >= 400) writes.refused += 1;
      else {
        const kind = `${event.verb} ${resource}${subresource === undefined ? '' : `/${subresource}`}`;
        writes.byKind[kind] = (writes.byKind[kind] ?? 0) + 1;
        writes.count += 1;
      }
    }
    return writes;
  }
}
