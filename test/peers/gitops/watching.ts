import { readFile } from 'node:fs/promises';
import type { Cluster } from '../../cluster/index.ts';

/** Who wrote what to the API server, by its audit log. */

interface AuditEvent {
  verb: string;
  requestURI: string;
  user: { username: string };
  objectRef?: { resource: string; subresource?: string; name?: string };
  responseStatus?: { code: number };
}

const READS = ['get', 'list', 'watch'];
/** What programs keep for themselves, and questions that are asked by writing. */
const OWN = ['events', 'tokenreviews', 'subjectaccessreviews', 'selfsubjectaccessreviews'];

/** A point in the audit log, to look from later. */
export async function mark(cluster: Cluster): Promise<number> {
  return (await readFile(cluster.auditLog!)).length;
}

/**
 * What these service accounts wrote since then, in order and with success, as `NAME: patch worldruns/status cpu`. What was only tried out
 * is left out, and so are leases unless they are asked for.
 */
export async function writes(
  cluster: Cluster,
  accounts: readonly string[],
  options: { since?: number; leases?: boolean } = {},
): Promise<string[]> {
  const log = (await readFile(cluster.auditLog!)).subarray(options.since ?? 0).toString();
  const left = options.leases === true ? OWN : [...OWN, 'leases'];
  return log
    .split('\n')
    .filter((line) => line.startsWith('{') && line.endsWith('}'))
    .flatMap((line) => {
      const { user, verb, requestURI, objectRef, responseStatus } = JSON.parse(line) as AuditEvent;
      const account = user.username.split(':').at(-1)!;
      if (!accounts.includes(account) || READS.includes(verb) || requestURI.includes('dryRun=All')) return [];
      if (objectRef === undefined || left.includes(objectRef.resource) || (responseStatus?.code ?? 0) >= 400) return [];
      const resource = [objectRef.resource, objectRef.subresource].filter(Boolean).join('/');
      return [`${account}: ${verb} ${resource} ${objectRef.name ?? ''}`.trimEnd()];
    });
}
