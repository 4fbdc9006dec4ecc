import { open, readFile, stat } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { parseAllDocuments, stringify } from 'yaml';
import type { Cluster } from '../cluster/index.ts';

/**
 * Operators that are processes of this host have the rights of the chart and no others: what those lack fails the test
 * that needs it. The API server's audit log says what was refused, and what nobody asked for.
 */

/** Where the manifest without Helm installs, and these operators keep their Lease. */
export const SYSTEM = 'worldflux-system';
const ACCOUNT = 'worldflux-operator';
export const userOf = (namespace: string): string => `system:serviceaccount:${namespace}:${ACCOUNT}`;

/** As kubectl names them; of the operators that are processes. */
export const PROCESS_ROLES = [
  ['clusterrole', `${ACCOUNT}-process`],
  ['role', `${ACCOUNT}-process`, '-n', SYSTEM],
] as const;

interface RbacObject {
  kind: string;
  metadata: { name: string; namespace?: string };
  roleRef?: { name: string };
}

/** A kubeconfig of the operator's ServiceAccount, bound as `manifests/install.yaml` binds it. */
export async function operatorKubeconfig(cluster: Cluster): Promise<string> {
  const text = await readFile(join(import.meta.dirname, '../../manifests/install.yaml'), 'utf8');
  const objects = parseAllDocuments(text)
    .map((document) => document.toJS() as RbacObject)
    .filter(({ kind, metadata }) => /^(Cluster)?Role(Binding)?$/.test(kind) && metadata.name.startsWith(ACCOUNT))
    .map(renamed);
  await cluster.kubectl(['apply', '-f', '-'], { input: objects.map((object) => stringify(object)).join('---\n') });
  // By their groups the API server shares its capacity out: as a nobody it would wait behind everybody else.
  const groups = ['system:serviceaccounts', `system:serviceaccounts:${SYSTEM}`];
  return cluster.userKubeconfig({ name: userOf(SYSTEM), groups });
}

/** Under their own names a chart that another file installs in the same cluster could not have them. */
function renamed(object: RbacObject): RbacObject {
  const name = (of: string): string => (of.startsWith(ACCOUNT) ? `${of}-process` : of);
  const { metadata, roleRef } = object;
  return {
    ...object,
    metadata: { ...metadata, name: name(metadata.name) },
    ...(roleRef && { roleRef: { ...roleRef, name: name(roleRef.name) } }),
  };
}

/** As `credentialSecrets` in the chart's values, or a team that lends its key to the sync. */
export async function letOperatorRead(cluster: Cluster, secret: { namespace: string; name: string }): Promise<void> {
  const { namespace, name } = secret;
  const metadata = { namespace, name: `operator-reads-${name}` };
  const apiVersion = 'rbac.authorization.k8s.io/v1';
  const objects = [
    {
      apiVersion,
      kind: 'Role',
      metadata,
      rules: [{ apiGroups: [''], resources: ['secrets'], resourceNames: [name], verbs: ['get'] }],
    },
    {
      apiVersion,
      kind: 'RoleBinding',
      metadata,
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: metadata.name },
      subjects: [{ kind: 'ServiceAccount', namespace: SYSTEM, name: ACCOUNT }],
    },
  ];
  await cluster.kubectl(['apply', '-f', '-'], { input: objects.map((object) => stringify(object)).join('---\n') });
}

interface AuditEvent {
  verb: string;
  user: { username: string };
  objectRef?: { apiGroup?: string; resource: string; subresource?: string; name?: string; namespace?: string };
  annotations?: Record<string, string>;
}

const spell = (group: string, resource: string, verb: string): string =>
  `${verb} ${resource}${group === '' ? '' : `.${group}`}`;

/** Requests by their right, such as `get jobs.batch`. */
export interface Asked {
  used: Set<string>;
  /** What the authorizer refused, and where. A namespace that is going refuses too, but for other reasons. */
  refused: string[];
}

export async function auditSize(cluster: Cluster): Promise<number> {
  return cluster.auditLog === undefined ? 0 : (await stat(cluster.auditLog)).size;
}

/** What these users asked of the API server, from that place in its audit log on. */
export async function askedBy(cluster: Cluster, users: (name: string) => boolean, from = 0): Promise<Asked> {
  if (cluster.auditLog === undefined) throw new Error(`cluster ${cluster.name} keeps no audit log`);
  const file = await open(cluster.auditLog);
  const asked: Asked = { used: new Set(), refused: [] };
  for await (const line of createInterface({ input: file.createReadStream({ start: from }) })) {
    if (!line.includes(`:${ACCOUNT}"`)) continue;
    const { user, objectRef, verb, annotations } = JSON.parse(line) as AuditEvent;
    if (objectRef === undefined || !users(user.username)) continue;
    const resource = [objectRef.resource, objectRef.subresource].filter(Boolean).join('/');
    const right = spell(objectRef.apiGroup ?? '', resource, verb);
    if (annotations?.['authorization.k8s.io/decision'] === 'forbid')
      asked.refused.push(`${right} ${objectRef.namespace ?? ''}/${objectRef.name ?? ''}`);
    else asked.used.add(right);
  }
  return asked;
}

interface Role {
  rules: { apiGroups: string[]; resources: string[]; verbs: string[] }[];
}

/** What these roles grant and nobody used. */
export async function unusedRights(
  cluster: Cluster,
  roles: readonly (readonly string[])[],
  used: ReadonlySet<string>,
): Promise<string[]> {
  const granted = await Promise.all(
    roles.map(async (what) => {
      const { rules } = JSON.parse(await cluster.kubectl(['get', ...what, '-o', 'json'])) as Role;
      return rules.flatMap(({ apiGroups, resources, verbs }) =>
        apiGroups.flatMap((group) =>
          resources.flatMap((resource) => verbs.map((verb) => spell(group, resource, verb))),
        ),
      );
    }),
  );
  // A watch that begins with what is there needs no list; API servers that cannot do that are listed.
  const covered = (right: string): boolean =>
    used.has(right) || (right.startsWith('list ') && used.has(right.replace('list', 'watch')));
  return [...new Set(granted.flat())].filter((right) => !covered(right));
}
