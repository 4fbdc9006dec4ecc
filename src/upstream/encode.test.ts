import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PINNED, type Contract, type Route, type Values } from './contract.ts';
import { artifactIn, findRunIn, headIn, initiatedIn, projectsIn, runIdIn } from './decode.ts';
import { encode } from './encode.ts';

const routeOf = (role: keyof Contract['routes']): Route => {
  const route = PINNED.routes[role];
  if (route === undefined) throw new Error(`no ${role}`);
  return route;
};
const values: Values = {
  clientRunId: 'c',
  project: 'demo-box',
  projectId: 'p-1',
  manifest: '{"a":1,"b":[2]}',
  metrics: { loss: 0.5 },
  logLines: ['one', 'two'],
  cloudRunId: 'run/1',
  expectedHead: null,
  head: 'h',
};
const bodyOf = (route: Route) => JSON.parse(encode(route, values, 'x').body?.toString() ?? '') as unknown;

describe('encode', () => {
  it('writes what has a slot, and nothing else', () => {
    expect(bodyOf(routeOf('run'))).toEqual({
      client_run_id: 'c',
      project: 'demo-box',
      manifest: { a: 1, b: [2] },
      metrics: { loss: 0.5 },
      log_lines: ['one', 'two'],
    });
    expect(bodyOf(routeOf('ledgerWrite'))).toEqual({
      project: 'demo-box',
      expected_head: null,
      head: 'h',
      client_run_id: 'c',
    });
  });

  it('writes envelopes, texts and ids as the contract asks', () => {
    const route: Route = {
      method: 'PUT',
      path: '/runs/{run_id}',
      params: { run_id: 'cloudRunId' },
      query: { project: 'projectId' },
      slots: [
        { value: 'manifest', at: ['run', 'text'], form: 'Text' },
        { value: 'logLines', at: ['run', 'log'], form: 'Text' },
      ],
    };
    expect(encode(route, values, 'x').target).toBe('/runs/run%2F1?project=p-1');
    expect(bodyOf(route)).toEqual({ run: { text: '{"a":1,"b":[2]}', log: 'one\ntwo' } });
  });

  it('refuses a route whose path needs what is not known', () => {
    expect(() => encode(routeOf('readArtifact'), values, 'read an artifact')).toThrow(
      'read an artifact: the route asks for artifactId',
    );
  });

  it('gives the same bytes for the same values, in whatever order they were made', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string({ minLength: 1 }), fc.double({ noNaN: true, noDefaultInfinity: true })),
        (metrics) => {
          const turned = Object.fromEntries(Object.entries(metrics).toReversed());
          const one = encode(routeOf('run'), { ...values, metrics }, 'x').body;
          expect(encode(routeOf('run'), { ...values, metrics: turned }, 'x').body).toEqual(one);
        },
      ),
    );
  });
});

describe('answers', () => {
  it.each([
    [{ run_id: 'r' }],
    [{ id: 'r' }],
    [{ run: { id: 'r' } }],
    [{ data: { run_id: 'r' } }],
    [{ cloud_run_id: 'r', id: 'other' }],
  ])('%j names the run r', (body) => {
    expect(runIdIn(body)).toBe('r');
  });
  it.each([[undefined], [{}], ['r'], [{ id: 7 }], [{ id: 'has space' }], [{ id: 'x'.repeat(129) }]])(
    '%j names none',
    (body) => {
      expect(runIdIn(body)).toBeUndefined();
    },
  );

  it('takes upload instructions, but no header that steers the connection or carries a key', () => {
    const headers = {
      'Content-Type': 'a/b',
      'X-Amz-Meta-A': '1',
      authorization: 'Bearer stolen',
      host: 'other',
      cookie: 'c',
      'content-length': '0',
      n: 1,
    };
    expect(initiatedIn({ artifact: { id: 'a' }, upload: { url: 'https://u/', method: 'PUT', headers } })).toEqual({
      artifactId: 'a',
      upload: { url: 'https://u/', method: 'PUT', headers: { 'content-type': 'a/b', 'x-amz-meta-a': '1' } },
    });
    expect(initiatedIn({ artifact_id: 'a', status: 'exists' })).toEqual({ artifactId: 'a', upload: undefined });
  });

  it('tells an empty ledger from an answer without a head', () => {
    expect([headIn({ head: null }), headIn({ ledger: { head: 'h' } }), headIn({}), headIn([])]).toEqual([
      null,
      'h',
      undefined,
      undefined,
    ]);
  });

  it('finds projects and runs in lists of several shapes', () => {
    const row = { id: 'p', slug: 's', name: 'N' };
    for (const body of [[row], { items: [row] }, { projects: [row] }])
      expect(projectsIn(body)).toEqual({ projects: [{ id: 'p', names: ['p', 's', 'N'] }], whole: true });
    expect(
      findRunIn(
        {
          items: [
            { id: 'a', client_run_id: 'x' },
            { id: 'b', client_run_id: 'c' },
          ],
        },
        'c',
      ),
    ).toBe('b');
    expect(findRunIn({ items: [] }, 'c')).toBeUndefined();
  });

  it.each([[{ items: [], total: 1 }], [{ data: [], has_more: true }], [{ results: [], next: 'https://x/?page=2' }]])(
    'a page is not the whole list: %j',
    (body) => expect(projectsIn(body)).toEqual({ projects: [], whole: false }),
  );

  it.each([[undefined], [{}], ['text'], [{ items: 'many' }]])('%j is no list of projects', (body) => {
    expect(projectsIn(body)).toBeUndefined();
  });

  it('counts as committed only what says so', () => {
    expect(artifactIn({ id: 'a', status: 'committed', sha256: 'SHA256'.toLowerCase() })).toEqual({
      committed: true,
      sha256: 'sha256',
    });
    expect(artifactIn({ artifact: { state: 'initiated' } })).toEqual({ committed: false, sha256: undefined });
    expect(artifactIn(undefined)).toBeUndefined();
  });
});
