import { z } from 'zod';
import { atomic, conditions, mapList, withRules } from './common.ts';
import { PHASES } from './vocabulary.ts';

const timestamp = () => z.string().meta({ format: 'date-time' });
const sha256 = () => z.string().max(71);

/** One start of a pod set, keyed by (jobUID, podSetStartedAt). */
const attempt = z.strictObject({
  number: z.int32().min(1),
  jobUID: z.string().max(64).optional(),
  podSetStartedAt: timestamp().optional(),
  node: z.string().max(253).optional(),
  startedAt: timestamp().optional().describe('The user’s container started.'),
  finishedAt: timestamp().optional(),
  exitCode: z.int32().optional(),
  reason: z.string().max(64).optional(),
  message: z.string().max(1024).optional(),
  counted: z
    .boolean()
    .optional()
    .describe('False for an attempt that a suspension or an eviction by the queue ended, or that was skipped.'),
  profile: z.string().max(253).optional().describe('The profile it used or skipped, where the run names fallbacks.'),
  externalId: z.string().max(253).optional().describe('The vendor’s id of the work.'),
  intent: z
    .strictObject({
      requestDigest: sha256(),
      recordedAt: timestamp(),
      since: timestamp()
        .optional()
        .describe('When the same request was first recorded, if it was then in doubt and was not found at the vendor.'),
      notAfter: timestamp().describe('The request is not sent after this.'),
      deadlineAt: timestamp().describe('The vendor itself ends the work by then.'),
    })
    .optional()
    .describe('Recorded before the request is sent to a vendor.'),
});
export type AttemptStatus = z.infer<typeof attempt>;

const storedArtifact = z.strictObject({
  name: z.string().max(63),
  path: z.string().max(512),
  rank: z.int32().min(0).optional(),
  count: z.int32().min(0).optional().describe('Files in it.'),
  sizeBytes: z.int().min(0).optional(),
  sha256: sha256().optional(),
  treeDigest: sha256()
    .optional()
    .describe('Over the sorted (path, size, sha256) of a folder’s files; independent of the tar.'),
  contentType: z.string().max(128).optional(),
  commit: z.boolean(),
  state: z.enum(['Stored', 'Missing', 'Refused', 'Failed', 'Skipped']),
  message: z.string().max(512).optional(),
});
export type StoredArtifact = z.infer<typeof storedArtifact>;

const log = z.strictObject({
  path: z.string().max(512).describe('Key in the run store.'),
  bytes: z.int().min(0),
  complete: z.boolean(),
  headLost: z.boolean().describe('The kubelet had rotated the beginning away before it was read.'),
  gaps: z.int32().min(0),
  redacted: z.int32().min(0).describe('Places where a secret was replaced.'),
});
export type StoredLog = z.infer<typeof log>;

const syncedArtifact = z.strictObject({
  name: z.string().max(63),
  rank: z.int32().min(0).optional(),
  state: z.enum(['Pending', 'Initiated', 'Uploaded', 'Committed', 'Aborted', 'Skipped']),
  message: z.string().max(256).optional(),
});

const sync = z.strictObject({
  attempts: z.int32().min(0),
  lastError: z.string().max(512).optional().describe('In words; never what the target said.'),
  nextAttemptAt: timestamp().optional(),
  manifestDigest: sha256().optional().describe('Of the redacted manifest that was sent, in RFC 8785 form.'),
  project: z.string().max(128).optional(),
  cloudRunId: z.string().max(128).optional(),
  request: z.string().max(253).optional().describe('Value of the annotation worldflux.ai/sync that was answered last.'),
  artifacts: atomic(z.array(syncedArtifact).max(64), 'list')
    .optional()
    .describe('Those marked commit, and the log where it went the same way.'),
});
export type SyncStatus = z.infer<typeof sync>;

const result = z.strictObject({
  exitCode: z.int32().optional(),
  durationSeconds: z.number().min(0).optional(),
  costEstimateUSD: z.string().max(32).optional(),
  log: log.optional(),
});

export const worldRunStatus = withRules(
  z.strictObject({
    epoch: z
      .int()
      .min(0)
      .optional()
      .describe('Lease transitions of the operator that wrote this; a stale leader is refused.'),
    phase: z.enum(PHASES).optional().describe('Derived from the conditions, for people.'),
    conditions: conditions().optional(),
    observedGeneration: z.int32().min(0).optional(),
    runId: z.string().max(64).optional().describe('Sortable: creation time and a piece of the uid’s digest.'),
    clientRunId: z
      .string()
      .max(36)
      .optional()
      .describe('The run’s identity in the store and upstream; the same on every retry.'),
    profile: z
      .strictObject({
        name: z.string().max(253),
        digest: z.string().max(71),
        runtime: z.string().max(63).optional().describe('What does the work.'),
      })
      .optional(),
    approval: z
      .strictObject({ by: z.string().max(256), specDigest: sha256() })
      .optional()
      .describe('Who approved the run, and which spec.'),
    queuedSince: timestamp()
      .optional()
      .describe('Start of the present wait: creation, the end of the last attempt, or the last resume.'),
    clocks: z
      .strictObject({
        queueSeconds: z.number().min(0),
        startupSeconds: z.number().min(0),
        runSeconds: z.number().min(0),
      })
      .optional()
      .describe('Seconds used by attempts that are over.'),
    attemptCount: z.int32().min(0).optional().describe('All attempts, also those no longer listed.'),
    uncountedAttempts: z
      .int32()
      .min(0)
      .optional()
      .describe('How many of them a suspension or the queue ended; they take no try from retry.maxAttempts.'),
    attempts: mapList(z.array(attempt).max(16), ['number']).optional().describe('The newest 16.'),
    progress: z
      .strictObject({
        percent: z.number().min(0).max(100).optional(),
        etaSeconds: z.number().min(0).optional(),
        step: z.int().min(0).optional(),
        updatedAt: timestamp(),
      })
      .optional(),
    result: result.optional(),
    manifest: atomic(z.looseObject({}), 'map')
      .optional()
      .describe(
        'The run manifest, schema docs/reference/manifest.schema.json; over 8 KiB only its digest and the first metrics stand here.',
      ),
    manifestDigest: sha256().optional().describe('SHA-256 of the manifest’s RFC 8785 form.'),
    manifestPath: z.string().max(512).optional().describe('Key of the whole manifest in the run store.'),
    artifacts: atomic(z.array(storedArtifact).max(64), 'list').optional(),
    artifactCount: z.int32().min(0).optional(),
    sync: sync.optional().describe('Written by the sync queue under its own field manager.'),
    plan: z
      .strictObject({
        digest: sha256(),
        creates: z.array(z.string().max(512)).max(16),
        estimatedCostUSD: z.string().max(32).optional(),
      })
      .optional()
      .describe('What a dry run would have created.'),
  }),
  [
    {
      rule: '!has(oldSelf.epoch) || (has(self.epoch) && self.epoch >= oldSelf.epoch)',
      message: 'written by an operator that is no longer the leader',
    },
    {
      rule: '!has(oldSelf.attemptCount) || (has(self.attemptCount) && self.attemptCount >= oldSelf.attemptCount)',
      message: 'attempts are never taken back',
    },
    {
      rule: "!has(oldSelf.conditions) || !oldSelf.conditions.exists(c, c.type == 'Succeeded' && c.status != 'Unknown') || (has(self.conditions) && self.conditions.exists(c, c.type == 'Succeeded' && oldSelf.conditions.exists(o, o.type == 'Succeeded' && o.status == c.status && o.reason == c.reason)) && self.conditions.exists(c, c.type == 'Finished' && c.status == 'True'))",
      message: 'a finished run never changes how it ended',
    },
    {
      rule: '!has(oldSelf.manifestDigest) || (has(self.manifestDigest) && self.manifestDigest == oldSelf.manifestDigest)',
      message: 'a recorded manifest never changes',
    },
  ],
);
export type WorldRunStatus = z.infer<typeof worldRunStatus>;

/**
 * What the API server writes into a new object: kstatus and `kubectl wait` are right before the operator has seen it,
 * and no first write is needed.
 */
export const INITIAL_STATUS = {
  phase: 'Pending',
  conditions: [
    {
      type: 'Ready',
      status: 'False',
      reason: 'Pending',
      message: 'The run has not been looked at yet.',
      lastTransitionTime: '1970-01-01T00:00:00Z',
    },
    {
      type: 'Reconciling',
      status: 'True',
      reason: 'Pending',
      message: 'The run has not been looked at yet.',
      lastTransitionTime: '1970-01-01T00:00:00Z',
    },
    {
      type: 'Finished',
      status: 'False',
      reason: 'Pending',
      message: 'The run has not ended.',
      lastTransitionTime: '1970-01-01T00:00:00Z',
    },
  ],
} as const;
