import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { run } from '../../cluster/process.ts';

const ROOT = join(import.meta.dirname, '..', '..', '..');

/** The files that a user has in a repository of their own. */
export async function copyOfProject(tree: string): Promise<void> {
  await mkdir(tree, { recursive: true });
  for (const part of ['manifests', 'charts']) await cp(join(ROOT, part), join(tree, part), { recursive: true });
}

/** A repository as a user has one, with this project's manifests and charts in it, served by git itself on the loopback. */
export class GitRepository {
  readonly url: string;
  /** Where its files are changed before a commit. */
  readonly tree: string;
  readonly #server: Server;

  private constructor(url: string, tree: string, server: Server) {
    this.url = url;
    this.tree = tree;
    this.#server = server;
  }

  static async serve(folder: string): Promise<GitRepository> {
    const served = join(folder, 'served');
    const tree = join(folder, 'tree');
    await copyOfProject(tree);
    const bare = join(served, 'worldflux.git');
    await git(['init', '--quiet', '--bare', '--initial-branch=main', bare]);
    await git(['init', '--quiet', '--initial-branch=main', tree]);
    await git(['-C', tree, 'remote', 'add', 'origin', bare]);
    const server = createServer((request, response) => answer(served, request, response));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    return new GitRepository(`http://127.0.0.1:${port}/worldflux.git`, tree, server);
  }

  /** Commits all that was changed, pushes it, and returns the revision. */
  async commit(message: string): Promise<string> {
    await git(['-C', this.tree, 'add', '--all']);
    await git(['-C', this.tree, '-c', 'user.name=a', '-c', 'user.email=a@b', 'commit', '--quiet', '-m', message]);
    await git(['-C', this.tree, 'push', '--quiet', 'origin', 'main']);
    return (await git(['-C', this.tree, 'rev-parse', 'HEAD'])).trim();
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

/** Whatever this host's user has configured stays out of it. */
const ENVIRONMENT = { PATH: process.env['PATH'], GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' };

function git(args: readonly string[]): Promise<string> {
  return run(['git', ...args], { env: ENVIRONMENT });
}

/** Git's own server, by CGI. */
function answer(root: string, request: IncomingMessage, response: ServerResponse): void {
  const { pathname, search } = new URL(request.url ?? '/', 'http://git');
  const header = (name: string): string => String(request.headers[name] ?? '');
  const child = spawn('git', ['http-backend'], {
    env: {
      ...ENVIRONMENT,
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: '1',
      GIT_PROTOCOL: header('git-protocol'),
      PATH_INFO: pathname,
      QUERY_STRING: search.slice(1),
      REQUEST_METHOD: request.method ?? 'GET',
      CONTENT_TYPE: header('content-type'),
      HTTP_CONTENT_ENCODING: header('content-encoding'),
    },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdin.on('error', () => {}); // it may answer without reading all
  request.pipe(child.stdin);
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.on('close', () => {
    const all = Buffer.concat(chunks);
    const end = all.indexOf('\r\n\r\n');
    const headers = all.subarray(0, end).toString().split('\r\n');
    let status = 200;
    for (const line of headers) {
      const [name = '', value = ''] = line.split(/:\s*/, 2);
      if (name.toLowerCase() === 'status') status = Number.parseInt(value, 10);
      else if (name !== '') response.setHeader(name, value);
    }
    response.writeHead(status).end(all.subarray(end + 4));
  });
}
