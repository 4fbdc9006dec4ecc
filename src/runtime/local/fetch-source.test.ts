import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, lstatSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fetchSource, type FetchLimits } from './fetch-source.ts';
import { SOURCE_CONFIG_VARIABLE, type SourceConfig } from './source-config.ts';
import { SourceError } from './source-error.ts';
import { Repository } from './testing/git-repository.ts';
import { startGitServer, type GitServer } from './testing/git-server.ts';
import { SSHD, startSshServer, type SshServer } from './testing/ssh-server.ts';

const LIMITS: FetchLimits = { bytes: 2 ** 20, files: 100, milliseconds: 60_000, retryMilliseconds: [1, 1] };
const PASSWORD = 'correct-horse-battery';

let dir: string;
let target: string;
let server: GitServer;
let repository: Repository;
let before: (request: IncomingMessage, response: ServerResponse) => boolean;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'worldflux-source-'));
  target = join(dir, 'target');
  before = () => false;
  server = await startGitServer(join(dir, 'repositories'), (...both) => before(...both));
  repository = new Repository(join(dir, 'repositories/team/project.git'));
  secret({});
});

afterEach(async () => {
  await server.close();
  await rm(dir, { recursive: true, force: true });
});

/** Writes the mounted Secret; the CA of the test's server is always in it. */
function secret(files: Record<string, string>): void {
  mkdirSync(join(dir, 'secret'), { recursive: true });
  for (const [name, value] of Object.entries({ 'ca.crt': server.ca, ...files }))
    writeFileSync(join(dir, 'secret', name), value);
}

const config = (over: Partial<SourceConfig> = {}): SourceConfig => ({
  url: `${server.origin}/team/project.git`,
  ref: 'main',
  path: '.',
  target,
  credentialsDir: join(dir, 'secret'),
  ...over,
});

const fetch = (over: Partial<SourceConfig> = {}, limits: Partial<FetchLimits> = {}): Promise<string> =>
  fetchSource(config(over), AbortSignal.timeout(60_000), { ...LIMITS, ...limits });

async function failure(over: Partial<SourceConfig> = {}, limits: Partial<FetchLimits> = {}): Promise<SourceError> {
  const error: unknown = await fetch(over, limits).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(SourceError);
  // A failed fetch leaves nothing that a command could take for its source.
  expect(existsSync(target) ? await readdir(target) : []).toEqual([]);
  return error as SourceError;
}

const files = async (): Promise<string[]> =>
  (await readdir(target, { recursive: true, withFileTypes: true }))
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(target.length + 1))
    .toSorted();

describe('a git source over https', () => {
  it('fetches a branch, a lightweight and an annotated tag, a commit, and the default branch', async () => {
    const first = repository.commit({ 'train.py': 'one' });
    repository.git(['tag', 'v1']);
    repository.git(['-c', 'user.name=t', '-c', 'user.email=t@t', 'tag', '-a', '-m', 'x', 'v1-annotated']);
    const second = repository.commit({ 'train.py': 'two', 'lib/a.py': 'a' });
    for (const [ref, commit, content] of [
      ['main', second, 'two'],
      ['HEAD', second, 'two'],
      ['v1', first, 'one'],
      ['v1-annotated', first, 'one'],
      [first, first, 'one'],
    ] as const) {
      expect(await fetch({ ref })).toBe(commit);
      expect(readFileSync(join(target, 'train.py'), 'utf8')).toBe(content);
    }
    expect(await files()).toEqual(['train.py']);
  });

  it('takes one folder of the repository and nothing else', async () => {
    repository.commit({
      'examples/pendulum/train.py': 'x',
      'examples/pendulum/data/a': 'y',
      README: 'z',
      'examples/other': 'q',
    });
    await fetch({ path: './examples/pendulum/' });
    expect(await files()).toEqual(['data/a', 'train.py']);
  });

  it('keeps links that stay inside', async () => {
    repository.commit({
      'a/real': 'x',
      'a/link': { link: 'real' },
      'b/up': { link: '../a/link' },
      gone: { link: 'nothing/here' },
    });
    await fetch();
    expect(readFileSync(join(target, 'b/up'), 'utf8')).toBe('x');
    expect(lstatSync(join(target, 'gone')).isSymbolicLink()).toBe(true);
  });

  it('sends the password of the Secret, and only where it belongs', async () => {
    repository.commit({ f: 'x' });
    const wanted = `Basic ${Buffer.from(`me:${PASSWORD}`).toString('base64')}`;
    before = (request, response) => {
      if (request.headers.authorization === wanted) return false;
      response.writeHead(401, { 'www-authenticate': 'Basic realm="git"' }).end();
      return true;
    };
    const refused = await failure();
    expect(refused.why).toBe('Credentials');
    secret({ username: 'me', password: `${PASSWORD}\n` });
    await fetch();
    expect(await files()).toEqual(['f']);
  });

  it('never repeats a credential, even where the server does', async () => {
    secret({ username: 'me', password: PASSWORD });
    before = (request, response) => {
      response.writeHead(500, { 'content-type': 'text/plain' }).end(`no ${request.headers.authorization} ${PASSWORD}`);
      return true;
    };
    const error = await failure();
    expect(error.why).toBe('Unreachable');
    const all = `${error.message} ${String((error.cause as Error).message)}`;
    expect(all).not.toContain(PASSWORD);
    expect(all).not.toContain(Buffer.from(`me:${PASSWORD}`).toString('base64'));
  });

  it('tries a server again that drops the connection', async () => {
    const commit = repository.commit({ f: 'x' });
    let dropped = 0;
    before = (request) => {
      if (dropped === 2) return false;
      dropped += 1;
      request.socket.destroy();
      return true;
    };
    expect(await fetch()).toBe(commit);
    expect(dropped).toBe(2);
  });

  it('does not follow a redirect, to wherever it leads', async () => {
    repository.commit({ f: 'x' });
    secret({ username: 'me', password: PASSWORD });
    const elsewhere = await startGitServer(join(dir, 'repositories'));
    try {
      before = (request, response) => {
        response.writeHead(302, { location: elsewhere.origin + request.url! }).end();
        return true;
      };
      const error = await failure();
      expect(error).toMatchObject({ why: 'Refused', message: expect.stringContaining('redirect') as string });
      expect(elsewhere.requests).toEqual([]);
    } finally {
      await elsewhere.close();
    }
  });

  it('does not trust a certificate of an unknown CA', async () => {
    repository.commit({ f: 'x' });
    const error = await failure({ credentialsDir: join(dir, 'nothing') });
    expect(error.message).toContain('ca.crt');
  });

  it.each([
    [{ ref: 'no-such-branch' }, 'NotFound', 'spec.source.git.ref'],
    [{ ref: '0123456789012345678901234567890123456789' }, 'NotFound', 'spec.source.git.ref'],
    [{ path: 'no/such/folder' }, 'NotFound', 'spec.source.git.path'],
    [{ path: 'train.py' }, 'NotFound', 'is not a folder'],
  ] as const)('says what is not there: %o', async (over, why, words) => {
    repository.commit({ 'train.py': 'x' });
    expect(await failure(over)).toMatchObject({ why, message: expect.stringContaining(words) as string });
  });

  it('says that there is no repository', async () => {
    expect(await failure({ url: `${server.origin}/team/other.git` })).toMatchObject({ why: 'NotFound' });
  });

  it('replaces what an earlier try left', async () => {
    repository.commit({ f: 'x' });
    mkdirSync(join(target, 'old'), { recursive: true });
    writeFileSync(join(target, 'old/file'), 'stale');
    await fetch();
    expect(await files()).toEqual(['f']);
  });

  it('stops when it is told to, and when it takes too long', async () => {
    repository.commit({ f: 'x' });
    const stop = new AbortController();
    before = () => {
      stop.abort();
      return true;
    };
    await expect(fetchSource(config(), stop.signal, LIMITS)).rejects.toMatchObject({ why: 'Stopped' });
    before = () => true;
    expect(await failure({}, { milliseconds: 300 })).toMatchObject({ why: 'TimedOut' });
  });
});

describe('what is never fetched', () => {
  it.each([
    ['file:///etc', 'https'],
    ['http://example.com/x.git', 'https'],
    ['git://example.com/x.git', 'https'],
    ['ext::sh -c id', 'https'],
    ['/etc', 'not a URL'],
    ['https://user:pw@example.com/x.git', 'Secret'],
    ['https://token@example.com/x.git', 'Secret'],
    ['ssh://user:pw@example.com/x.git', 'Secret'],
    ['ssh://-oProxyCommand=id/x.git', 'host name'],
    ['https://example.com/x.git?token=abc', 'query'],
  ])('%s', async (url, words) => {
    const error = await failure({ url });
    expect(error).toMatchObject({ why: 'Refused', message: expect.stringContaining(words) as string });
    expect(error.message).not.toMatch(/pw|token@|abc/);
  });

  it.each(['--upload-pack=id', '-x', '+main:refs/heads/x', 'a b', 'main..other', ''])('ref "%s"', async (ref) => {
    repository.commit({ f: 'x' });
    expect(await failure({ ref })).toMatchObject({ why: 'Refused' });
  });

  it.each(['../x', 'a/../../x', '/etc', 'a\\..\\b'])('path "%s"', async (path) => {
    repository.commit({ f: 'x' });
    expect(await failure({ path })).toMatchObject({ why: 'Refused' });
  });

  it('a host that the profile does not allow', async () => {
    repository.commit({ f: 'x' });
    expect(await failure({ allowedHosts: ['github.com', '*.example.com'] })).toMatchObject({ why: 'Refused' });
    expect(server.requests).toEqual([]);
    await fetch({ allowedHosts: ['127.0.0.1'] });
  });

  it('a host that two parsers read differently is asked for as it was judged', async () => {
    const error = await failure({
      url: `https://127.0.0.1:1\\@${new URL(server.origin).host}/team/project.git`,
      allowedHosts: ['127.0.0.1'],
    });
    expect(error.why).toBe('Unreachable');
    expect(server.requests).toEqual([]);
  });
});

describe('hostile repositories', () => {
  it.each([
    ['absolute', { l: { link: '/etc/passwd' } }],
    ['upwards', { 'a/l': { link: '../../outside' } }],
    ['upwards through another link', { 'a/b/f': 'x', short: { link: 'a/b' }, l: { link: 'short/../../..' } }],
    ['out and in again', { l: { link: '../target/f' }, f: 'x' }],
    ['a circle', { a: { link: 'b' }, b: { link: 'a' } }],
  ])('a symbolic link that leads out: %s', async (_name, entries) => {
    repository.commit(entries);
    expect(await failure()).toMatchObject({ why: 'Unsafe' });
  });

  it('a link that leaves the folder that was asked for', async () => {
    repository.commit({ secret: 'x', 'a/l': { link: '../secret' } });
    expect(await failure({ path: 'a' })).toMatchObject({ why: 'Unsafe' });
  });

  it('a folder that is a link', async () => {
    repository.commit({ 'real/f': 'x', l: { link: '/etc' } });
    expect(await failure({ path: 'l' })).toMatchObject({ why: 'NotFound' });
  });

  it('a submodule is left empty and its URL never asked', async () => {
    const gitmodules = `[submodule "sub"]\n\tpath = sub\n\turl = ${server.origin}/team/other.git\n`;
    const commit = repository.commit({ f: 'x', '.gitmodules': gitmodules, sub: { submodule: 'a'.repeat(40) } });
    expect(await fetch()).toBe(commit);
    expect(await files()).toEqual(['.gitmodules', 'f']);
    expect(server.requests.filter(({ url }) => url.includes('other'))).toEqual([]);
  });

  it.each([
    ['..', { '..': 'x' }],
    ['a/../../escape', { 'a/../../escape': 'x' }],
    ['.git/hooks', { '.git/hooks/post-checkout': '#!/bin/sh\ntouch /tmp/owned\n' }],
    ['.GIT', { '.GIT/config': 'x' }],
  ])('a tree with the name %s', async (_name, entries) => {
    repository.commit({ f: 'x', ...entries });
    // Refused or left out: what counts is that nothing of it arrives.
    await fetch().catch(() => undefined);
    expect((await files()).filter((path) => /(^|\/)\.git(\/|$)/i.test(path))).toEqual([]);
    expect(existsSync(join(dir, 'escape'))).toBe(false);
  });

  it('filters and hooks that it names do not run', async () => {
    const mark = join(dir, 'ran');
    repository.commit({
      '.gitattributes': '* filter=lfs\n*.x filter=evil\n',
      '.lfsconfig': `[lfs]\n\turl = ${server.origin}/lfs\n`,
      'big.x': 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n',
      'hooks/post-checkout': `#!/bin/sh\ntouch ${mark}\n`,
    });
    await fetch();
    expect(existsSync(mark)).toBe(false);
    expect(readFileSync(join(target, 'big.x'), 'utf8')).toContain('git-lfs');
  });

  it('a small pack of a large tree', async () => {
    repository.commit({ zeros: Buffer.alloc(2 ** 21) });
    expect(await failure()).toMatchObject({ why: 'TooLarge' });
  });

  it('a large pack', async () => {
    repository.commit({ noise: randomBytes(2 ** 21) });
    expect(await failure()).toMatchObject({ why: 'TooLarge' });
  });

  it('too many files', async () => {
    repository.commit(Object.fromEntries(Array.from({ length: 101 }, (_, i) => [`f${i}`, 'x'])));
    expect(await failure()).toMatchObject({ why: 'TooLarge' });
  });
});

// OpenSSH's server is a package of its own: without it this part cannot run.
describe.skipIf(SSHD === undefined)('a git source over ssh', () => {
  let ssh: SshServer;
  const url = () => ssh.origin + repository.directory;

  beforeEach(async () => {
    ssh = await startSshServer(join(dir, 'ssh'));
    repository.commit({ f: 'x' });
  });
  afterEach(() => ssh.close());

  it('fetches with the key of the Secret, also when it lost its last newline', async () => {
    secret({ 'ssh-privatekey': ssh.privateKey.trim(), known_hosts: ssh.knownHosts });
    expect(await fetch({ url: url() })).toMatch(/^[0-9a-f]{40}$/);
    expect(await files()).toEqual(['f']);
  });

  it('does not talk to a server whose host key is another', async () => {
    const other = ssh.knownHosts.replace(
      /AAAA\S+/,
      'AAAAC3NzaC1lZDI1NTE5AAAAIMQ4fxT1pm9Vq5s5nQ2XH0JZrY1bJmCq0n3wS8S8vJ1c',
    );
    secret({ 'ssh-privatekey': ssh.privateKey, known_hosts: other });
    expect(await failure({ url: url() })).toMatchObject({
      why: 'Credentials',
      message: expect.stringContaining('known_hosts') as string,
    });
  });

  it('says that the key is not accepted', async () => {
    const stranger = await startSshServer(join(dir, 'stranger'));
    await stranger.close();
    secret({ 'ssh-privatekey': stranger.privateKey, known_hosts: ssh.knownHosts });
    expect(await failure({ url: url() })).toMatchObject({
      why: 'Credentials',
      message: expect.stringContaining('other credentials') as string,
    });
  });

  it('asks for known_hosts: a server that nobody vouches for is not trusted', async () => {
    secret({ 'ssh-privatekey': ssh.privateKey });
    expect(await failure({ url: url() })).toMatchObject({
      why: 'Credentials',
      message: expect.stringContaining('known_hosts') as string,
    });
  });
});

const runContainer = (over: Partial<SourceConfig>): Promise<{ code: number; output: string; message: string }> => {
  const terminationLog = join(dir, 'termination-log');
  const env = {
    PATH: process.env['PATH'],
    [SOURCE_CONFIG_VARIABLE]: JSON.stringify({ ...config(over), terminationLog }),
  };
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [join(import.meta.dirname, '../../main.ts'), 'fetch-source'],
      { env },
      (error, stdout, stderr) =>
        resolve({
          code: Number(error?.code ?? 0),
          output: stdout + stderr,
          message: readFileSync(terminationLog, 'utf8'),
        }),
    );
  });
};

describe('the init container', () => {
  it('ends with the commit as its message', async () => {
    const commit = repository.commit({ f: 'x' });
    expect(await runContainer({})).toMatchObject({ code: 0, message: commit });
  });

  it('ends with one sentence and code 1', async () => {
    const { code, message, output } = await runContainer({ ref: 'missing' });
    expect(code).toBe(1);
    expect(message).toContain('spec.source.git.ref');
    expect(output.trim()).toBe(message);
  });
});
