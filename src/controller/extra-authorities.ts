import { readFile } from 'node:fs/promises';
import type { OperatorOptions } from '../options.ts';

/** It becomes a part of one environment variable of every pod, and those end at 128 KiB. */
const LARGEST = 32 * 1024;

/**
 * What Node trusts besides the public authorities, for the pods: they upload to the same S3 service as the operator does,
 * and have no such file. Undefined where there is nothing to hand on. Throws where it cannot be.
 */
export async function storeAuthorities(
  options: Pick<OperatorOptions, 'store' | 's3-endpoint'>,
  env: NodeJS.ProcessEnv,
): Promise<string | undefined> {
  const file = env['NODE_EXTRA_CA_CERTS'] ?? '';
  const isOverTls = options.store === 's3' && options['s3-endpoint']?.startsWith('https:') === true;
  if (file === '' || !isOverTls) return undefined;
  const pem = await readFile(file, 'utf8');
  if (!pem.includes('-----BEGIN CERTIFICATE-----'))
    throw new Error(`NODE_EXTRA_CA_CERTS: ${file} holds no certificate`);
  if (pem.length > LARGEST)
    throw new Error(
      `NODE_EXTRA_CA_CERTS: ${file} has ${pem.length} bytes and is handed to every pod: name your own authorities alone, at most ${LARGEST} bytes`,
    );
  return pem;
}
