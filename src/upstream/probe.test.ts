import { describe, expect, it } from 'vitest';
import {
  demanding,
  nested,
  plain,
  renamed,
  withoutArtifacts,
  type Dialect,
} from '../../test/fakes/worldflux/dialects.ts';
import { openApiOf } from '../../test/fakes/worldflux/openapi.ts';
import { ARTIFACT_ROLES, hasArtifacts, hasLedger, PINNED, problemsOf, verdictOf, type Contract } from './contract.ts';
import { probeOpenApi } from './probe.ts';

const probe = (dialect: Dialect): Contract => {
  const contract = probeOpenApi(structuredClone(openApiOf(dialect)));
  if (contract === undefined) throw new Error('no contract');
  return contract;
};
const fieldsOf = (contract: Contract, role: 'run' | 'initiate') =>
  Object.fromEntries(
    (contract.routes[role]?.slots ?? []).map(({ value, at, form }) => [value, `${at.join('.')} ${form}`]),
  );

describe('probeOpenApi', () => {
  it('finds in the plain dialect what is pinned', () => {
    const contract = probe(plain);
    expect(verdictOf(contract)).toEqual({
      status: 'True',
      message: 'Every sync route and field was found in /openapi.json.',
    });
    for (const [role, route] of Object.entries(PINNED.routes)) {
      expect(contract.routes[role as keyof typeof PINNED.routes]).toMatchObject({
        method: route.method,
        path: route.path,
      });
    }
    expect(fieldsOf(contract, 'run')).toMatchObject({
      clientRunId: 'client_run_id Plain',
      logLines: 'log_lines Lines',
      manifest: 'manifest Plain',
    });
  });

  it('finds ids in paths, other field names and a log of one text', () => {
    const contract = probe(nested);
    expect(verdictOf(contract).status).toBe('True');
    expect(contract.routes.initiate).toMatchObject({
      path: '/api/sync/runs/{run_id}/artifacts/initiate',
      params: { run_id: 'cloudRunId' },
    });
    expect(fieldsOf(contract, 'initiate')).toMatchObject({
      sizeBytes: 'byte_size Plain',
      sha256: 'checksum_sha256 Plain',
      artifactName: 'artifact_name Plain',
    });
    expect(fieldsOf(contract, 'run')).toMatchObject({ project: 'project_slug Plain', logLines: 'logs Text' });
  });

  it('finds routes under other names by their words, and an envelope around the run', () => {
    const contract = probe(renamed);
    expect(verdictOf(contract)).toMatchObject({
      status: 'True',
      message: expect.stringContaining('DELETE /api/v2/sync/artifact-uploads/{upload_id}') as string,
    });
    expect(contract.routes.run).toMatchObject({ method: 'PUT', path: '/api/v2/sync/run' });
    expect(contract.routes.abort).toMatchObject({ method: 'DELETE', params: { upload_id: 'artifactId' } });
    expect(fieldsOf(contract, 'run')).toEqual({
      clientRunId: 'run.clientRunId Plain',
      projectId: 'run.projectId Plain',
      manifest: 'run.runManifest Plain',
      metrics: 'run.metrics Plain',
    });
  });

  it('never takes a route of the dashboard, of shares or of claims for one of ours', () => {
    const document = openApiOf(withoutArtifacts);
    const contract = probe(withoutArtifacts);
    expect(Object.keys(document['paths'] as object)).toContain('/api/claims/{claim_id}/artifacts/commit');
    for (const role of ARTIFACT_ROLES) expect(contract.routes[role]).toBeUndefined();
    const paths = document['paths'] as Record<string, unknown>;
    delete paths['/api/sync/runs'];
    expect(probeOpenApi(document)?.routes.run).toBeUndefined();
  });

  it('says what it cannot fill and what is not there', () => {
    expect(verdictOf(probe(demanding))).toEqual({
      status: 'False',
      message: 'post a run: POST /api/sync/runs asks for the field residency_zone',
    });
    const contract = probe(withoutArtifacts);
    expect(problemsOf(contract, ARTIFACT_ROLES).map(({ text }) => text)).toEqual([
      'no such route',
      'no such route',
      'no such route',
    ]);
    expect(hasArtifacts(contract)).toBe(false);
    expect(hasLedger(contract)).toBe(true);
  });

  it('does not choose between two routes that fit equally well', () => {
    const document = openApiOf(renamed);
    const paths = document['paths'] as Record<string, unknown>;
    paths['/api/v3/sync/run'] = structuredClone(paths['/api/v2/sync/run']);
    expect(verdictOf(probeOpenApi(document) ?? PINNED)).toMatchObject({
      status: 'False',
      message: 'post a run: several routes could be meant',
    });
  });

  it.each([[undefined], [{}], [{ openapi: '2.0', paths: {} }], ['text'], [[1]]])('gives nothing for %j', (document) => {
    expect(probeOpenApi(document)).toBeUndefined();
  });

  it('survives references to themselves and to nowhere', () => {
    const schema = { $ref: '#/components/schemas/Loop' };
    const operation = { operationId: 'x', requestBody: { content: { 'application/json': { schema } } } };
    const document = {
      openapi: '3.1.0',
      paths: {
        '/api/sync/runs': { post: operation },
        '/api/sync/ledger-head': { post: { requestBody: { $ref: '#/no/where' } } },
      },
      components: {
        schemas: { Loop: { allOf: [{ $ref: '#/components/schemas/Loop' }], properties: { self: schema } } },
      },
    };
    expect(verdictOf(probeOpenApi(document) ?? PINNED).status).toBe('False');
  });

  it('ends in a moment with a document that refers to itself a thousand times over', () => {
    const loop = { $ref: '#/components/schemas/Loop' };
    const properties = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`p${i}`, loop]));
    const document = {
      openapi: '3.1.0',
      paths: { '/api/sync/runs': { post: { requestBody: { content: { 'application/json': { schema: loop } } } } } },
      components: { schemas: { Loop: { properties, allOf: Array.from({ length: 100 }, () => loop) } } },
    };
    expect(probeOpenApi(document)?.problems.length).toBeGreaterThan(0);
  });

  it('has the same digest for the same document and another one for another', () => {
    expect(probe(plain).digest).toBe(probe(plain).digest);
    expect(probe(plain).digest).not.toBe(probe(nested).digest);
  });
});
