import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';

/** One thing in a commit: a file's content, a link's target, or a submodule's commit. */
export type Entry = string | Buffer | { link: string } | { submodule: string };

const ENVIRONMENT = {
  PATH: process.env['PATH'],
  HOME: '/nonexistent',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_AUTHOR_NAME: 'test',
  GIT_AUTHOR_EMAIL: 'test@example.com',
  GIT_COMMITTER_NAME: 'test',
  GIT_COMMITTER_EMAIL: 'test@example.com',
};

/** A bare repository in which a test writes any commit, also one that git itself would not make. */
export class Repository {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
    mkdirSync(dirname(directory), { recursive: true });
    execFileSync('git', ['init', '-q', '--bare', '-b', 'main', directory], { env: ENVIRONMENT });
  }

  /** Commits exactly these entries, by path, onto `ref`; answers the commit. */
  commit(entries: Record<string, Entry>, ref = 'refs/heads/main'): string {
    const tree = this.#tree(Object.entries(entries).map(([path, entry]) => ({ path: path.split('/'), entry })));
    const commit = this.git(['commit-tree', tree, '-m', 'test']);
    this.git(['update-ref', ref, commit]);
    return commit;
  }

  git(args: string[], input?: Buffer): string {
    return execFileSync('git', ['--git-dir', this.directory, ...args], {
      env: ENVIRONMENT,
      input,
      encoding: 'utf8',
    }).trim();
  }

  #tree(entries: { path: string[]; entry: Entry }[]): string {
    const rows: { name: string; mode: string; id: string }[] = [];
    const folders = Map.groupBy(entries, ({ path }) => path[0]!);
    for (const [name, inside] of folders) {
      const [first] = inside;
      if (first!.path.length === 1) rows.push({ name, ...this.#object(first!.entry) });
      else rows.push({ name, mode: '40000', id: this.#tree(inside.map((e) => ({ ...e, path: e.path.slice(1) }))) });
    }
    rows.sort((a, b) => (order(a) < order(b) ? -1 : 1));
    const bytes = rows.flatMap((row) => [Buffer.from(`${row.mode} ${row.name}\0`), Buffer.from(row.id, 'hex')]);
    // "literally": git checks the names of a tree that it is told to store.
    return this.git(['hash-object', '-t', 'tree', '-w', '--literally', '--stdin'], Buffer.concat(bytes));
  }

  #object(entry: Entry): { mode: string; id: string } {
    if (typeof entry === 'object' && 'submodule' in entry) return { mode: '160000', id: entry.submodule };
    const link = typeof entry === 'object' && 'link' in entry;
    const bytes = Buffer.from(link ? entry.link : entry);
    return { mode: link ? '120000' : '100644', id: this.git(['hash-object', '-w', '--stdin'], bytes) };
  }
}

/** Git sorts a folder as if its name ended in a slash. */
function order(row: { name: string; mode: string }): string {
  return row.mode === '40000' ? `${row.name}/` : row.name;
}
