import { spawn } from 'node:child_process';
import { SourceError, type SourceFailure } from './source-error.ts';

/**
 * The git command, with everything off that lets a server or a repository decide what happens here: other protocols,
 * redirects, hooks, filters, submodules, and the configuration of the machine.
 */

const SETTINGS: Record<string, string> = {
  'protocol.allow': 'never',
  'protocol.https.allow': 'always',
  'protocol.ssh.allow': 'always',
  // A redirect leads past the allowed hosts, and the credentials with it.
  'http.followRedirects': 'false',
  'http.lowSpeedLimit': '1000',
  'http.lowSpeedTime': '60',
  'credential.helper': '',
  'core.hooksPath': '/dev/null',
  'core.attributesFile': '/dev/null',
  'core.fsmonitor': 'false',
  'core.symlinks': 'true',
  'submodule.recurse': 'false',
  'fetch.recurseSubmodules': 'false',
  'transfer.bundleURI': 'false',
  'fetch.uriProtocols': '',
  'gc.auto': '0',
  'maintenance.auto': 'false',
  'advice.detachedHead': 'false',
  // The container is small: large files are streamed, and deltas resolved by one thread with a small cache.
  'core.bigFileThreshold': '16m',
  'core.deltaBaseCacheLimit': '32m',
  'pack.threads': '1',
};

export interface GitAccess {
  /** Settings that hold credentials; they reach git through its environment, never its arguments. */
  settings: Record<string, string>;
  /** `GIT_SSH_COMMAND`, for ssh. */
  sshCommand?: string;
  /** Words that no message may repeat. */
  secrets: readonly string[];
}

/** Keeps what a git command says on standard error bounded; the end tells why it failed. */
const MOST_STDERR = 16 * 1024;

export class Git {
  readonly #environment: Record<string, string>;
  readonly #secrets: readonly string[];

  constructor(home: string, access: GitAccess) {
    const settings = Object.entries({ ...SETTINGS, ...access.settings });
    this.#secrets = access.secrets;
    this.#environment = {
      PATH: process.env['PATH'] ?? '/usr/bin:/bin',
      HOME: home,
      LC_ALL: 'C',
      GIT_CONFIG_NOSYSTEM: '1',
      GIT_CONFIG_GLOBAL: '/dev/null',
      GIT_ATTR_NOSYSTEM: '1',
      GIT_TERMINAL_PROMPT: '0',
      GIT_ALLOW_PROTOCOL: 'https:ssh',
      GIT_LFS_SKIP_SMUDGE: '1',
      GIT_LITERAL_PATHSPECS: '1',
      GIT_NO_REPLACE_OBJECTS: '1',
      ...(access.sshCommand !== undefined && { GIT_SSH_COMMAND: access.sshCommand, GIT_SSH_VARIANT: 'ssh' }),
      GIT_CONFIG_COUNT: String(settings.length),
      ...Object.fromEntries(
        settings.flatMap(([key, value], i) => [
          [`GIT_CONFIG_KEY_${i}`, key],
          [`GIT_CONFIG_VALUE_${i}`, value],
        ]),
      ),
    };
  }

  /** Runs one command and hands its output on in pieces. Throws SourceError when it fails. */
  async stream(args: readonly string[], onOutput: (chunk: Buffer) => void, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    // Its own process group: git leaves helpers (git-remote-https, index-pack, ssh) behind when only it is killed.
    const child = spawn('git', args, { env: this.#environment, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    const kill = () => {
      try {
        process.kill(-child.pid!, 'SIGKILL');
      } catch {
        // The whole group is gone already.
      }
    };
    signal.addEventListener('abort', kill);
    let said = '';
    let broken: unknown;
    child.stdout.on('data', (chunk: Buffer) => {
      try {
        onOutput(chunk);
      } catch (error) {
        broken ??= error;
        kill();
      }
    });
    child.stderr.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString('utf8')).slice(-MOST_STDERR);
    });
    try {
      const ok = await new Promise<boolean>((resolve, reject) => {
        child.once('error', (error) =>
          reject(new SourceError('Unknown', 'git cannot be started in this image.', error)),
        );
        child.once('close', (status) => resolve(status === 0));
      });
      if (broken !== undefined) throw broken;
      signal.throwIfAborted();
      if (!ok) throw explain(this.#redact(said));
    } finally {
      signal.removeEventListener('abort', kill);
    }
  }

  /** Runs one command with a short answer. */
  async text(args: readonly string[], signal: AbortSignal): Promise<string> {
    let answer = '';
    await this.stream(args, (chunk) => (answer += chunk.toString('utf8')), signal);
    return answer.trim();
  }

  #redact(text: string): string {
    const hidden = this.#secrets.reduce((all, secret) => all.replaceAll(secret, '[redacted]'), text);
    return hidden.replaceAll(/(\b[a-z][a-z0-9+.-]*:\/\/)([^\s/@]+@)?([^\s?#']*)([?#][^\s']*)?/gi, '$1$3');
  }
}

const SIGNS: [RegExp, SourceFailure, string][] = [
  [
    /couldn't find remote ref|no such remote ref/i,
    'NotFound',
    'The repository has no branch, tag or commit of that name (spec.source.git.ref).',
  ],
  [
    /not our ref|unadvertised object|no such ref was fetched/i,
    'NotFound',
    'The server does not give that commit (spec.source.git.ref): name a branch or tag, or a commit that one of them holds.',
  ],
  [
    /host key verification failed|no .* host key is known/i,
    'Credentials',
    'The ssh host key of the git server is not in known_hosts of the Secret that spec.source.git.secretRef names.',
  ],
  [
    /permission denied \(|could not read username|could not read password|authentication failed|error: 40[13]\b|terminal prompts disabled/i,
    'Credentials',
    'The git server wants other credentials: see the Secret that spec.source.git.secretRef names, and its rights.',
  ],
  [
    /error: 30[1278]\b|unable to update url base from redirection/i,
    'Refused',
    'The git server answers with a redirect, which is not followed: put the URL that it leads to into spec.source.git.url (often the same with .git).',
  ],
  [
    /error: (404|410)\b|repository .*not found|does not appear to be a git repository|not valid: is this a git repository|dumb http transport/i,
    'NotFound',
    'There is no git repository at spec.source.git.url, or these credentials do not show it.',
  ],
  [
    /ssl certificate problem|certificate verif|unable to get local issuer|no alternative certificate subject name/i,
    'Credentials',
    'The certificate of the git server is not trusted: a private CA belongs as ca.crt into the Secret that spec.source.git.secretRef names.',
  ],
  [/no space left on device/i, 'TooLarge', 'The repository does not fit onto the volume of the source.'],
  [/transport '.*' not allowed/i, 'Refused', 'Only https and ssh are allowed for a git source.'],
  [
    /could not resolve host|failed to connect|couldn't connect|connection (refused|reset|timed out|closed)|timed out|no route to host|network is unreachable|error: (429|5\d\d)\b|early eof|hung up|unexpected disconnect|operation too slow|gnutls|rpc failed|tls connection|kex_exchange|temporary failure in name resolution/i,
    'Unreachable',
    'The git server cannot be reached',
  ],
];

function explain(said: string): SourceError {
  const cause = new Error(said);
  const found = SIGNS.find(([sign]) => sign.test(said));
  const detail = lastLine(said);
  if (found === undefined) return new SourceError('Unknown', `git failed: ${detail}`, cause);
  const [, why, message] = found;
  return new SourceError(why, why === 'Unreachable' ? `${message}: ${detail}` : message, cause);
}

function lastLine(said: string): string {
  const lines = said
    .split(/[\r\n]+/)
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const line = lines.findLast((l) => /^(fatal|error|ssh):/.test(l)) ?? lines.at(-1) ?? 'it said nothing';
  return line.replace(/^(fatal|error): /, '').slice(0, 300);
}
