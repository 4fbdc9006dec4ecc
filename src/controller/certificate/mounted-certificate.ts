import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ServingMaterial } from '../../results/gateway/tls.ts';
import type { ServingCertificate } from './serving-certificate.ts';

/** The kubelet shows a changed Secret within about a minute; nothing is gained by looking more often. */
const REREAD_MS = 60_000;

interface Mounted extends ServingMaterial {
  caPem: string;
}

/**
 * A certificate that somebody else issues and renews, cert-manager for example, as a Secret mounted into the pod:
 * `tls.crt`, `tls.key`, `ca.crt`. It is read again as long as the process lives.
 */
export class MountedCertificate implements ServingCertificate {
  readonly #directory: string;
  readonly #names: readonly string[];
  #mounted: Mounted;
  #timer: NodeJS.Timeout | undefined;

  private constructor(directory: string, names: readonly string[], mounted: Mounted) {
    this.#directory = directory;
    this.#names = names;
    this.#mounted = mounted;
  }

  /** Rejects, naming the file, when the folder does not hold a certificate that serves all of `names`. */
  static async read(directory: string, names: readonly string[]): Promise<MountedCertificate> {
    return new MountedCertificate(directory, names, await read(directory, names));
  }

  get caPem(): string {
    return this.#mounted.caPem;
  }

  get serving(): ServingMaterial {
    return { certPem: this.#mounted.certPem, keyPem: this.#mounted.keyPem };
  }

  keepRenewed(use: (serving: ServingMaterial) => void, onError: (error: unknown) => void, everyMs = REREAD_MS): void {
    this.#timer = setInterval(() => {
      // What is wrong now may be right at the next look; until then the old one serves.
      read(this.#directory, this.#names).then((mounted) => {
        const { certPem } = this.#mounted;
        this.#mounted = mounted;
        if (mounted.certPem !== certPem) use(this.serving);
      }, onError);
    }, everyMs);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

async function read(directory: string, names: readonly string[]): Promise<Mounted> {
  const text = (file: string): Promise<string> => readFile(join(directory, file), 'utf8');
  const [certPem, keyPem, caPem] = await Promise.all([text('tls.crt'), text('tls.key'), text('ca.crt')]);
  const certificate = parsed(join(directory, 'tls.crt'), certPem);
  parsed(join(directory, 'ca.crt'), caPem);
  // The files are read one by one, and may be exchanged in between.
  if (!certificate.checkPrivateKey(createPrivateKey(keyPem)))
    throw new Error(`${join(directory, 'tls.key')} is not the key of tls.crt`);
  if (certificate.validToDate <= new Date()) throw new Error(`${join(directory, 'tls.crt')} has expired`);
  const missing = names.filter((name) => certificate.checkHost(name) === undefined);
  if (missing.length > 0) throw new Error(`${join(directory, 'tls.crt')} does not name ${missing.join(', ')}`);
  return { certPem, keyPem, caPem };
}

function parsed(file: string, pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (error) {
    // ACME issuers, for example, leave ca.crt empty: pods would not know whom to trust.
    throw new Error(`${file} holds no certificate`, { cause: error });
  }
}
