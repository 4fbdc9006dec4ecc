import { describe, expect, test } from 'vitest';
import { OPERATOR, render, type KubeObject } from '../chart/helm.ts';
import { VALUE_SETS } from '../chart/values.ts';

/**
 * What the rendered chart grants, read as a reviewer would. That nothing is missing, and what is unused, is found with real
 * Pods under these rights (../../e2e/chart.test.ts).
 */

interface Rule {
  apiGroups: string[];
  resources: string[];
  verbs: string[];
  resourceNames?: string[];
}
interface PodSpec {
  securityContext: object;
  containers: { securityContext: object; volumeMounts: { name: string; mountPath: string }[] }[];
  volumes: object[];
}

const rulesOf = (object: KubeObject): Rule[] => (object as unknown as { rules?: Rule[] }).rules ?? [];

describe.each(Object.entries(VALUE_SETS))('%s', (_, values) => {
  /** Roles that are bound to the operator, with their rules. */
  async function granted(): Promise<{ kind: string; rule: Rule }[]> {
    const objects = await render(OPERATOR, values);
    const bound = objects.flatMap((object) => {
      const { roleRef, subjects } = object as unknown as {
        roleRef?: { kind: string; name: string };
        subjects?: { kind: string; name: string }[];
      };
      const isOurs = subjects?.some(({ kind, name }) => kind === 'ServiceAccount' && name === 'worldflux-operator');
      return roleRef !== undefined && isOurs === true ? [`${roleRef.kind}/${roleRef.name}`] : [];
    });
    return objects
      .filter(({ kind, metadata }) => bound.includes(`${kind}/${metadata.name}`))
      .flatMap((object) => rulesOf(object).map((rule) => ({ kind: object.kind, rule })));
  }

  test('no wildcard, and nothing that leads to somebody else’s rights', async () => {
    const rules = await granted();
    expect(rules.length).toBeGreaterThan(10);
    for (const { rule } of rules) {
      expect([...rule.apiGroups, ...rule.resources, ...rule.verbs]).not.toContain('*');
      expect(
        rule.verbs.filter((verb) => ['bind', 'escalate', 'impersonate', 'approve', 'sign'].includes(verb)),
      ).toEqual([]);
      const inside = /^(pods|nodes|services)\/(exec|attach|portforward|proxy|ephemeralcontainers)$/;
      expect(rule.resources.filter((resource) => inside.test(resource))).toEqual([]);
      expect(rule.resources).not.toContain('serviceaccounts/token');
      expect(rule.apiGroups).not.toContain('rbac.authorization.k8s.io');
    }
  });

  test('Secrets are read by name, in the operator’s own namespace; never listed, never watched', async () => {
    for (const { kind, rule } of (await granted()).filter((one) => one.rule.resources.includes('secrets'))) {
      expect(kind).toBe('Role');
      // A create has no name to restrict it by, and reads nothing.
      const isCreate = rule.verbs.join() === 'create';
      expect(isCreate || (rule.resourceNames ?? []).length > 0).toBe(true);
      expect(
        rule.verbs.filter((verb) => ['list', 'watch', 'delete', 'deletecollection', 'patch'].includes(verb)),
      ).toEqual([]);
    }
  });

  test('its pod is as the restricted standard wants it, on a root that nobody can write', async () => {
    const { spec } = (await render(OPERATOR, values)).find(({ kind }) => kind === 'Deployment')!;
    const pod = (spec!['template'] as { spec: PodSpec }).spec;
    expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
    for (const { securityContext } of pod.containers) {
      expect(securityContext).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
    }
    expect(pod.volumes.filter((volume) => 'hostPath' in volume)).toEqual([]);
  });
});

test('policies are there unless somebody turns them off, each bound and failing closed', async () => {
  const kinds = (objects: readonly KubeObject[], kind: string): KubeObject[] =>
    objects.filter((one) => one.kind === kind);
  const objects = await render(OPERATOR, {});
  const policies = kinds(objects, 'ValidatingAdmissionPolicy');
  const bindings = kinds(objects, 'ValidatingAdmissionPolicyBinding');
  expect(policies.map(({ metadata }) => metadata.name).toSorted()).toEqual([
    'approvals.worldflux.ai',
    'finalizers.worldflux.ai',
    'jobs.worldflux.ai',
    'pods.worldflux.ai',
    'profile-use.worldflux.ai',
    'status.worldflux.ai',
  ]);
  for (const { spec } of policies) expect(spec).toMatchObject({ failurePolicy: 'Fail' });
  expect(bindings.map(({ spec }) => spec)).toEqual(
    policies.map(({ metadata }) => ({ policyName: metadata.name, validationActions: ['Deny'] })),
  );
  const without = await render(OPERATOR, { policies: { enabled: false } });
  expect(without.filter(({ kind }) => kind.startsWith('ValidatingAdmission'))).toEqual([]);
});
