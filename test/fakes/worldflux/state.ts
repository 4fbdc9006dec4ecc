import { createHash, randomBytes, randomUUID } from 'node:crypto';
import canonicalize from 'canonicalize';
import type { Canonical } from './bodies.ts';

/** What the fake remembers, and the rules it holds its clients to. */

export interface Project {
  id: string;
  slug: string;
  workspace: string;
}

export interface Run {
  id: string;
  workspace: string;
  project: string;
  clientRunId: string;
  manifest: Record<string, unknown>;
  manifestDigest: string;
  metrics: Record<string, number>;
  logLines: string[];
  /** How often it was posted, the first time included. */
  posts: number;
}

export interface Artifact {
  id: string;
  runId: string;
  name: string;
  path: string;
  size: number;
  sha256: string;
  contentType: string;
  state: 'initiated' | 'committed' | 'aborted';
  signature: string;
  expiresAt: number;
  received?: { size: number; sha256: string };
}

/** An answer that is not a success. */
export class Refusal extends Error {
  readonly status: number;
  readonly body: Record<string, unknown>;

  constructor(status: number, body: Record<string, unknown>) {
    super(String(status));
    this.status = status;
    this.body = body;
  }
}

export interface Rules {
  /** How a run that is already there is answered when it is posted again unchanged. */
  runReplay: 'same' | 'conflict';
  /** The same for a commit. */
  commitReplay: 'same' | 'conflict';
  urlSeconds: number;
  /** Bytes of one PUT to the upload host; more is refused as S3 does, before a byte of it is read. */
  maxPutBytes: number;
}

export class WorldFluxState {
  readonly rules: Rules = { runReplay: 'same', commitReplay: 'same', urlSeconds: 900, maxPutBytes: 5 * 2 ** 30 };
  /** Bearer key → workspace. */
  readonly keys = new Map<string, string>();
  readonly projects: Project[] = [];
  /** By workspace and client run id. */
  readonly runs = new Map<string, Run>();
  readonly artifacts = new Map<string, Artifact>();
  /** Heads in order, by workspace and project. */
  readonly ledgers = new Map<string, string[]>();
  readonly now: () => number;

  constructor(now: () => number = Date.now) {
    this.now = now;
  }

  addProject(workspace: string, slug: string): Project {
    const project = { id: randomUUID(), slug, workspace };
    this.projects.push(project);
    return project;
  }

  rotateKey(before: string, after: string): void {
    const workspace = this.keys.get(before);
    if (workspace === undefined) throw new Error('no such key');
    this.keys.delete(before);
    this.keys.set(after, workspace);
  }

  projectOf(workspace: string, reference: string): Project {
    const project = this.projects.find(
      (p) => p.workspace === workspace && (p.slug === reference || p.id === reference),
    );
    if (project === undefined) throw new Refusal(404, { detail: 'Project not found' });
    return project;
  }

  postRun(workspace: string, body: Canonical['runs']): { run: Run; created: boolean } {
    const project = this.projectOf(workspace, body.project);
    const key = `${workspace}/${body.client_run_id}`;
    const manifestDigest = digest(body.manifest);
    const there = this.runs.get(key);
    if (there !== undefined) {
      there.posts += 1;
      const same = there.manifestDigest === manifestDigest && there.project === project.slug;
      if (same && this.rules.runReplay === 'same') return { run: there, created: false };
      throw new Refusal(409, { detail: 'client_run_id already recorded', run_id: there.id });
    }
    const run: Run = {
      id: randomUUID(),
      workspace,
      project: project.slug,
      clientRunId: body.client_run_id,
      manifest: body.manifest,
      manifestDigest,
      metrics: body.metrics ?? {},
      logLines: body.log_lines ?? [],
      posts: 1,
    };
    this.runs.set(key, run);
    return { run, created: true };
  }

  run(workspace: string, id: string): Run {
    const run = [...this.runs.values()].find((r) => r.workspace === workspace && r.id === id);
    if (run === undefined) throw new Refusal(404, { detail: 'Run not found' });
    return run;
  }

  initiate(workspace: string, body: Canonical['initiate']): Artifact {
    const run = this.run(workspace, body.run_id);
    const path = body.path ?? body.name;
    const committed = [...this.artifacts.values()].find(
      (a) => a.runId === run.id && a.name === body.name && a.path === path && a.state === 'committed',
    );
    if (committed !== undefined)
      throw new Refusal(409, { detail: 'artifact already committed', artifact_id: committed.id });
    const artifact: Artifact = {
      id: randomUUID(),
      runId: run.id,
      name: body.name,
      path,
      size: body.size_bytes,
      sha256: body.sha256,
      contentType: body.content_type,
      state: 'initiated',
      signature: randomBytes(32).toString('hex'),
      expiresAt: this.now() + this.rules.urlSeconds * 1000,
    };
    this.artifacts.set(artifact.id, artifact);
    return artifact;
  }

  artifact(workspace: string, id: string): Artifact {
    const artifact = this.artifacts.get(id);
    if (artifact === undefined) throw new Refusal(404, { detail: 'Artifact not found' });
    this.run(workspace, artifact.runId);
    return artifact;
  }

  commit(workspace: string, body: Canonical['commit']): Artifact {
    const artifact = this.artifact(workspace, body.artifact_id);
    if (artifact.state === 'committed') {
      if (this.rules.commitReplay === 'same') return artifact;
      throw new Refusal(409, { detail: 'artifact already committed', artifact_id: artifact.id });
    }
    if (artifact.state === 'aborted')
      throw new Refusal(409, { detail: 'upload was aborted', artifact_id: artifact.id });
    const { received } = artifact;
    if (
      received === undefined ||
      received.sha256 !== artifact.sha256 ||
      received.size !== artifact.size ||
      body.sha256 !== artifact.sha256
    ) {
      throw new Refusal(422, {
        detail: [{ loc: ['body', 'sha256'], msg: 'uploaded bytes differ', type: 'value_error', input: body.sha256 }],
      });
    }
    artifact.state = 'committed';
    return artifact;
  }

  abort(workspace: string, body: Canonical['abort']): Artifact {
    const artifact = this.artifact(workspace, body.artifact_id);
    if (artifact.state === 'committed')
      throw new Refusal(409, { detail: 'artifact already committed', artifact_id: artifact.id });
    artifact.state = 'aborted';
    return artifact;
  }

  ledger(workspace: string, project: string): string[] {
    const key = `${workspace}/${this.projectOf(workspace, project).slug}`;
    const there = this.ledgers.get(key) ?? [];
    this.ledgers.set(key, there);
    return there;
  }

  /** Compare and swap. */
  advance(workspace: string, body: Canonical['ledger']): string {
    const ledger = this.ledger(workspace, body.project);
    if ((ledger.at(-1) ?? null) !== body.expected_head)
      throw new Refusal(409, { detail: 'ledger head moved', head: ledger.at(-1) ?? null });
    ledger.push(body.head);
    return body.head;
  }

  /** Committed copies of each artifact, by `client run id/name/path`. */
  committedCopies(): Map<string, number> {
    const copies = new Map<string, number>();
    const clientIds = new Map([...this.runs.values()].map((run) => [run.id, run.clientRunId]));
    for (const artifact of this.artifacts.values()) {
      if (artifact.state !== 'committed') continue;
      const key = `${clientIds.get(artifact.runId)}/${artifact.name}/${artifact.path}`;
      copies.set(key, (copies.get(key) ?? 0) + 1);
    }
    return copies;
  }
}

function digest(value: unknown): string {
  return createHash('sha256')
    .update(canonicalize(value) ?? '')
    .digest('hex');
}
