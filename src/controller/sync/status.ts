import type { Condition } from '../../crds/common.ts';
import type { SyncReason } from '../../crds/vocabulary.ts';
import type { SyncStatus } from '../../crds/world-run-status.ts';
import { PRIVATE_WORDS } from './pass.ts';
import type { SyncRun } from './ports.ts';
import type { SyncRecord } from './record.ts';

/** What the queue says of a run: the `Synced` condition and `status.sync`. Never a word of what the target said. */

export interface Saying {
  readonly status: 'True' | 'False';
  readonly reason: SyncReason;
  readonly message: string;
}

export interface SyncFacts {
  readonly attempts: number;
  readonly record: SyncRecord | undefined;
  readonly project: string | undefined;
  readonly lastError: string | undefined;
  /** Milliseconds since the epoch. */
  readonly nextAttemptAt: number | undefined;
  /** The request that is answered by this. */
  readonly request: string | undefined;
}

/** How a pass that came to its end is said. */
export function sayingOf(record: SyncRecord): Saying {
  const skipped = record.artifacts.filter(({ state, message }) => state === 'Skipped' && message !== PRIVATE_WORDS);
  const sent = record.artifacts.filter(({ state }) => state === 'Committed').length;
  const withheld = record.artifacts.filter(
    ({ message, state }) => state === 'Skipped' && message === PRIVATE_WORDS,
  ).length;
  if (skipped.length > 0) {
    const words = skipped.slice(0, 5).map(({ name, message }) => `${name}: ${message ?? ''}`);
    return {
      status: 'False',
      reason: 'ArtifactsSkipped',
      message: `The run is there; ${skipped.length} artifact(s) are not: ${words.join('; ')}`,
    };
  }
  const notes = [`${sent} artifact(s)`, ...(withheld > 0 ? [`${withheld} kept back because the run is private`] : [])];
  return {
    status: 'True',
    reason: 'Synced',
    message: `The run is in the project ${record.target.project}, with ${notes.join(', ')}.`,
  };
}

const seconds = (ms: number): string => new Date(Math.floor(ms / 1000) * 1000).toISOString().replace('.000Z', 'Z');

const MOST_ARTIFACTS = 64;

export function statusOf(
  run: SyncRun,
  saying: Saying,
  facts: SyncFacts | undefined,
  now: number,
): { conditions: Condition[]; sync?: SyncStatus } {
  const before = run.synced;
  const condition: Condition = {
    type: 'Synced',
    status: saying.status,
    reason: saying.reason,
    message: saying.message.slice(0, 1024),
    lastTransitionTime: before?.status === saying.status ? before.lastTransitionTime : seconds(now),
    observedGeneration: run.generation,
  };
  if (facts === undefined) return { conditions: [condition] };
  const { record, lastError, nextAttemptAt, project, request } = facts;
  const artifacts = (record?.artifacts ?? []).slice(0, MOST_ARTIFACTS).map(({ name, rank, state, message }) => ({
    name: name.slice(0, 63),
    ...(rank === null ? {} : { rank }),
    state,
    ...(message === undefined ? {} : { message: message.slice(0, 256) }),
  }));
  const sync: SyncStatus = {
    attempts: facts.attempts,
    ...(lastError === undefined ? {} : { lastError: lastError.slice(0, 512) }),
    ...(nextAttemptAt === undefined ? {} : { nextAttemptAt: seconds(nextAttemptAt) }),
    ...(record === undefined ? {} : { manifestDigest: record.manifestDigest }),
    ...(project === undefined ? {} : { project }),
    ...(record?.cloudRunId === undefined ? {} : { cloudRunId: record.cloudRunId }),
    ...(request === undefined ? {} : { request }),
    ...(artifacts.length === 0 ? {} : { artifacts }),
  };
  return { conditions: [condition], sync };
}
