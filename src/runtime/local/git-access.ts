import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UrlGuard, UrlRefused } from '../../net/url-guard.ts';
import type { GitAccess } from './git.ts';
import type { SourceConfig } from './source-config.ts';
import { SourceError } from './source-error.ts';

/** Refuses what is never fetched, whatever a server says. The pod may reach what the user's own container may reach. */
export function checkSource({ url: raw, ref, path, allowedHosts }: SourceConfig): URL {
  if (!URL.canParse(raw)) refuse('spec.source.git.url is not a URL.');
  const url = new URL(raw);
  if (url.protocol !== 'https:' && url.protocol !== 'ssh:') {
    refuse(`spec.source.git.url: only https:// and ssh:// are allowed, not ${url.protocol}//.`);
  }
  if (url.password !== '' || (url.protocol === 'https:' && url.username !== '')) {
    refuse('spec.source.git.url: put credentials into the Secret that secretRef names, not into the URL.');
  }
  if (url.search !== '' || url.hash !== '')
    refuse('spec.source.git.url: a query or fragment is not part of a git URL.');
  // ssh would take a leading dash for an option.
  if (!/^[A-Za-z0-9._-]*$/.test(url.username) || url.username.startsWith('-') || /^[-%]/.test(url.hostname)) {
    refuse('spec.source.git.url: the user or host name is not one.');
  }
  if (!/^[A-Za-z0-9][A-Za-z0-9._/+-]*$/.test(ref) || ref.includes('..')) {
    refuse('spec.source.git.ref: not a branch, tag or commit.');
  }
  if (path.startsWith('/') || path.includes('\\') || path.includes('\0') || path.split('/').includes('..')) {
    refuse('spec.source.git.path must stay inside the repository: remove the leading "/" and ".." segments.');
  }
  try {
    new UrlGuard({ allowedHosts, allowPrivateEndpoints: true }).check(`https://${url.host}`);
  } catch (error) {
    if (!(error instanceof UrlRefused)) throw error;
    throw new SourceError('Refused', `spec.source.git.url: ${error.message} for git sources of this profile.`, error);
  }
  return url;
}

function refuse(message: string): never {
  throw new SourceError('Refused', message);
}

/** Reads the mounted Secret. Private keys are copied into `home`: ssh insists on a file that nobody else can read. */
export async function gitAccess(url: URL, directory: string | undefined, home: string): Promise<GitAccess> {
  const secret = (name: string) => readSecret(directory, name);
  if (url.protocol === 'https:') {
    const [username, password, ca] = await Promise.all([secret('username'), secret('password'), secret('ca.crt')]);
    const settings: Record<string, string> = {};
    if (ca !== undefined) {
      await writeFile(join(home, 'ca.crt'), ca);
      settings['http.sslCAInfo'] = join(home, 'ca.crt');
    }
    if (password === undefined) return { settings, secrets: [] };
    // Servers that take a token as the password mostly do not look at the name.
    const basic = Buffer.from(`${username?.trim() ?? 'git'}:${password.trim()}`).toString('base64');
    settings[`http.${url.origin}/.extraHeader`] = `Authorization: Basic ${basic}`;
    return { settings, secrets: [basic, password.trim()].filter((word) => word !== '') };
  }
  const [key, knownHosts] = await Promise.all([secret('ssh-privatekey'), secret('known_hosts')]);
  if (key === undefined || knownHosts === undefined) {
    const missing = key === undefined ? 'ssh-privatekey' : 'known_hosts';
    throw new SourceError(
      'Credentials',
      `An ssh source needs ${missing} in the Secret that spec.source.git.secretRef names.`,
    );
  }
  const files = { key: join(home, 'key'), knownHosts: join(home, 'known_hosts') };
  // A key that lost its last newline on the way into the Secret is "invalid format" for ssh.
  await writeFile(files.key, `${key.replaceAll('\r', '').trimEnd()}\n`, { mode: 0o600 });
  await writeFile(files.knownHosts, `${knownHosts.replaceAll('\r', '').trimEnd()}\n`);
  return { settings: {}, sshCommand: sshCommand(files), secrets: [] };
}

function sshCommand(files: { key: string; knownHosts: string }): string {
  const options = {
    IdentityFile: files.key,
    IdentitiesOnly: 'yes',
    IdentityAgent: 'none',
    UserKnownHostsFile: files.knownHosts,
    GlobalKnownHostsFile: '/dev/null',
    StrictHostKeyChecking: 'yes',
    UpdateHostKeys: 'no',
    PasswordAuthentication: 'no',
    KbdInteractiveAuthentication: 'no',
    BatchMode: 'yes',
    ForwardAgent: 'no',
    ConnectTimeout: '20',
    ServerAliveInterval: '15',
    ServerAliveCountMax: '4',
  };
  return ['ssh', '-F', 'none', ...Object.entries(options).map(([name, value]) => `-o ${name}=${value}`)].join(' ');
}

async function readSecret(directory: string | undefined, name: string): Promise<string | undefined> {
  if (directory === undefined) return undefined;
  try {
    return await readFile(join(directory, name), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new SourceError('Credentials', `The key ${name} of the git Secret cannot be read.`, error);
  }
}
