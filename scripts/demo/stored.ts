import { NAMESPACE } from '../chart/install.ts';
import type { Target } from './target.ts';

/**
 * Reads what the operator keeps, where it lies: in the volume of the operator's pod. It needs the right to exec there,
 * which an administrator has and the operator itself has not.
 */
const STORE = '/var/lib/worldflux/store/v1';

async function inOperator(target: Target, script: string, argument: string): Promise<string> {
  const find = `const { createReadStream, readdirSync } = require('node:fs');
const file = (key) => { for (const id of readdirSync('${STORE}')) return '${STORE}/' + id + '/objects/' + key; };
`;
  return target.kubectl(
    ['-n', NAMESPACE, 'exec', 'deploy/worldflux-operator', '--', 'node', '-e', find + script, argument],
    {
      timeoutMs: 60_000,
    },
  );
}

/** A text object of the store. */
export function readText(target: Target, key: string): Promise<string> {
  return inOperator(target, 'createReadStream(file(process.argv[1])).pipe(process.stdout)', key);
}

/** Size and SHA-256 of the bytes as they lie there now, by key. */
export async function measure(
  target: Target,
  keys: readonly string[],
): Promise<Record<string, { bytes: number; sha256: string }>> {
  const script = `
(async () => {
  const found = {};
  for (const key of JSON.parse(process.argv[1])) {
    const hash = require('node:crypto').createHash('sha256');
    let bytes = 0;
    for await (const chunk of createReadStream(file(key))) { hash.update(chunk); bytes += chunk.length; }
    found[key] = { bytes, sha256: hash.digest('hex') };
  }
  console.log(JSON.stringify(found));
})();`;
  return JSON.parse(await inOperator(target, script, JSON.stringify(keys))) as Record<
    string,
    { bytes: number; sha256: string }
  >;
}
