import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { ExecAuth } from '@kubernetes/client-node/dist/exec_auth.js';
import type { User } from '@kubernetes/client-node/dist/config_types.js';
import type { ClusterConfig } from './config.ts';

/** What a TLS connection to the server is opened with. */
export interface TlsOptions {
  readonly ca?: string | Buffer;
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
  readonly servername?: string;
  readonly rejectUnauthorized: boolean;
}

/** What one connection and one request need to be accepted. */
export interface Access {
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: TlsOptions;
  /** Changes when `tls` does: connections opened with another one must not be used any more. */
  readonly tlsFingerprint: string;
}

/** Files and plugins are asked again after this long, as client-go does. */
const REFRESH_MS = 60_000;
const PLUGIN_TIMEOUT_MS = 30_000;

/**
 * Reads CA, client certificate and token, and notices when they are rotated. A failing refresh keeps what worked
 * before (a kubelet swaps mounted files, a plugin may be offline); the first read, and one after `reject`, throws.
 */
export class Credentials {
  readonly #config: ClusterConfig;
  #plugin = new ExecAuth();
  #access: Access | undefined;
  #freshUntil = 0;
  #reading: Promise<Access> | undefined;

  constructor(config: ClusterConfig) {
    this.#config = config;
  }

  /** What to use now. Costs nothing while fresh, so it stands in front of every request. */
  async current(): Promise<Access> {
    if (this.#access !== undefined && performance.now() < this.#freshUntil) return this.#access;
    // One read for however many requests wait for it: a plugin may take seconds, or open a browser.
    this.#reading ??= this.#refresh().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  /** The server refused `access`: the next request reads everything anew. */
  reject(access: Access): void {
    if (this.#access !== access) return;
    this.#access = undefined;
    // The plugin's own cache keeps a credential until it expires, even a revoked one.
    this.#plugin = new ExecAuth();
  }

  async #refresh(): Promise<Access> {
    const before = this.#access;
    const access = await this.#read().catch((error: unknown) => {
      if (before === undefined) throw error;
      return before;
    });
    this.#access = access;
    this.#freshUntil = performance.now() + REFRESH_MS;
    return access;
  }

  async #read(): Promise<Access> {
    const { cluster, user, tokenFile } = this.#config;
    const [ca, cert, key, fileToken, plugin] = await Promise.all([
      fileOrData(cluster.caFile, cluster.caData),
      fileOrData(user.certFile, user.certData),
      fileOrData(user.keyFile, user.keyData),
      tokenFile === undefined ? undefined : readFile(tokenFile, 'utf8'),
      user.exec ? this.#askPlugin(user) : undefined,
    ]);
    const token = plugin?.token ?? fileToken ?? user.token;
    const tls = {
      ...present('ca', ca),
      ...present('cert', plugin?.cert ?? cert),
      ...present('key', plugin?.key ?? key),
      ...present('servername', cluster.tlsServerName),
      rejectUnauthorized: !cluster.skipTLSVerify,
    };
    return {
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token.trim()}` }),
        ...present('impersonate-user', user.impersonateUser),
      },
      tls,
      tlsFingerprint: fingerprint(tls),
    };
  }

  async #askPlugin(user: User): Promise<{ token?: string; cert?: string; key?: string }> {
    const options: { headers: Record<string, string>; cert?: string; key?: string } = { headers: {} };
    await withinTime(this.#plugin.applyAuthentication(withExecInfo(user, this.#config), options), user.name);
    const { headers, cert, key } = options;
    return {
      ...present('token', headers['Authorization']?.replace('Bearer ', '')),
      ...present('cert', cert),
      ...present('key', key),
    };
  }
}

/** Plugins learn from this variable which API version to answer in, and for which cluster; client-node omits it. */
function withExecInfo(user: User, { cluster }: ClusterConfig): User {
  const exec = user.exec as {
    apiVersion?: string;
    provideClusterInfo?: boolean;
    env?: { name: string; value: string }[];
  };
  const info = {
    apiVersion: exec.apiVersion ?? 'client.authentication.k8s.io/v1',
    kind: 'ExecCredential',
    spec: {
      interactive: false,
      ...(exec.provideClusterInfo === true
        ? { cluster: { server: cluster.server, 'certificate-authority-data': cluster.caData } }
        : {}),
    },
  };
  const env = [...(exec.env ?? []), { name: 'KUBERNETES_EXEC_INFO', value: JSON.stringify(info) }];
  return { ...user, exec: { ...exec, env } };
}

async function withinTime<T>(work: Promise<T>, user: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new Error(`the credential plugin of user ${user} gave no answer in ${PLUGIN_TIMEOUT_MS / 1000} s`);
    timer = setTimeout(() => reject(error), PLUGIN_TIMEOUT_MS);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function fileOrData(file: string | undefined, base64: string | undefined): Promise<Buffer | undefined> {
  if (file !== undefined) return readFile(file);
  return base64 === undefined ? undefined : Buffer.from(base64, 'base64');
}

function present<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined || value === null ? {} : ({ [key]: value } as { [P in K]: V });
}

function fingerprint(tls: TlsOptions): string {
  const hash = createHash('sha256');
  for (const part of [tls.ca, tls.cert, tls.key, tls.servername, String(tls.rejectUnauthorized)]) {
    hash.update(part ?? '').update('\0');
  }
  return hash.digest('hex');
}
