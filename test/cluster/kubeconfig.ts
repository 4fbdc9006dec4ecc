import { writeFile } from 'node:fs/promises';
import { stringify } from 'yaml';
import type { Pem } from './pki.ts';

/** Writes a kubeconfig that needs no other file. */
export async function writeKubeconfig(
  path: string,
  o: { server: string; ca: string; user: string; credentials: Pem },
): Promise<void> {
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'worldflux', cluster: { server: o.server, 'certificate-authority-data': base64(o.ca) } }],
    users: [
      {
        name: o.user,
        user: { 'client-certificate-data': base64(o.credentials.cert), 'client-key-data': base64(o.credentials.key) },
      },
    ],
    contexts: [{ name: 'worldflux', context: { cluster: 'worldflux', user: o.user } }],
    'current-context': 'worldflux',
  };
  await writeFile(path, stringify(config), { mode: 0o600 });
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}
