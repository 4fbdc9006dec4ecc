import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { aRun } from './testing/a-run.ts';
import { childName, clientRunId, inputDigest, installationId, pinName, runId, uuid5 } from './identity.ts';

const INSTALLATION = installationId('kube-system-uid', 'worldflux');
/** https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#rfc-1035-label-names */
const RFC_1035 = /^[a-z]([-a-z0-9]*[a-z0-9])?$/;

test('UUID v5 as RFC 9562 has it', () => {
  // Its own example: the DNS namespace and www.example.com.
  expect(uuid5('6ba7b810-9dad-11d1-80b4-00c04fd430c8', 'www.example.com')).toBe('2ed6657d-e927-568b-95e1-2665a8aea6a2');
});

describe('names of children', () => {
  const segment = fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?$/);
  const name = fc
    .array(segment, { minLength: 1, maxLength: 5 })
    .map((parts) =>
      parts
        .join('.')
        .slice(0, 253)
        .replace(/[.-]+$/, ''),
    )
    .filter((text) => text !== '');

  test('fit into a Job, a Service and a host name, for every name that a run can have', () => {
    fc.assert(
      fc.property(name, fc.integer({ min: 1, max: 9999 }), (runName, attempt) => {
        const run = { name: runName, uid: 'u' };
        expect(childName(run)).toMatch(RFC_1035);
        expect(childName(run, attempt)).toMatch(RFC_1035);
        expect(childName(run, attempt).length).toBeLessThanOrEqual(52);
        // `<job>-<rank>-<five letters>` is the pod, `<job>-<rank>` its host name.
        expect(`${childName(run, attempt)}-255-abcde`.length).toBeLessThanOrEqual(63);
      }),
      { numRuns: 500 },
    );
  });

  test.each([
    ['pendulum', /^pendulum-[0-9a-f]{8}$/],
    ['3d-model', /^r-3d-model-[0-9a-f]{8}$/],
    ['a.b.c', /^a-b-c-[0-9a-f]{8}$/],
    ['x'.repeat(253), /^x{36}-[0-9a-f]{8}$/],
    [`${'x'.repeat(35)}.y`, /^x{35}-[0-9a-f]{8}$/],
  ])('%s', (runName, expected) => {
    expect(childName({ name: runName, uid: 'u' })).toMatch(expected);
  });

  test('two runs never share one, also of the same name', () => {
    expect(childName({ name: 'a', uid: 'u1' }, 1)).not.toBe(childName({ name: 'a', uid: 'u2' }, 1));
    expect(childName({ name: 'a', uid: 'u1' }, 1)).not.toBe(childName({ name: 'a', uid: 'u1' }, 2));
  });
});

describe('the identity of a run', () => {
  test('is its uid, or its runKey across delete and re-create', () => {
    const id = (uid: string, runKey?: string, namespace = 'team') =>
      clientRunId(INSTALLATION, { namespace, uid, runKey });
    expect(id('u1')).not.toBe(id('u2'));
    expect(id('u1', 'k')).toBe(id('u2', 'k'));
    expect(id('u1', 'k')).not.toBe(id('u1', 'k', 'other'));
    // A key that looks like a uid is none.
    expect(id('x')).not.toBe(id('y', 'x'));
  });

  test('is another one in another installation', () => {
    const run = { namespace: 'team', uid: 'u' };
    expect(clientRunId(INSTALLATION, run)).not.toBe(clientRunId(installationId('kube-system-uid', 'other'), run));
  });

  test('run ids sort by creation', () => {
    expect(runId('2026-11-20T10:15:00Z', 'u')).toMatch(/^20261120T101500Z-[0-9a-f]{8}$/);
    const ids = ['2026-11-20T10:15:01Z', '2026-11-20T10:15:00Z', '2025-12-31T23:59:59Z'].map((at) => runId(at, 'u'));
    expect(ids.toSorted()).toEqual(ids.toReversed());
  });

  test('what it was asked does not change with what may change', () => {
    const asked = aRun();
    const digest = inputDigest(asked.live().spec);
    for (const later of [asked.suspended(), asked.cancelled(), asked.asking({ ttlSecondsAfterFinished: 1 })]) {
      expect(inputDigest(later.live().spec)).toBe(digest);
    }
    expect(inputDigest(asked.onNodes(2).live().spec)).not.toBe(digest);
  });
});

test('a pinned profile is named by its content', () => {
  expect(pinName(`sha256:${'ab'.repeat(32)}`)).toBe('rtp-abababababababab');
});
