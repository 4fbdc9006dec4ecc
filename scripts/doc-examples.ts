import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The runtime that docs/runtimes/writing-a-runtime.md builds, as files that compile and run where the suite is. */

const PAGE = 'docs/runtimes/writing-a-runtime.md';
const HOME = 'test/conformance/toy';

/** From where the page puts a file to where its copy lies; the first that fits. */
const MOVES: Readonly<Record<string, readonly (readonly [from: string, to: string])[]>> = {
  'runtime.ts': [
    ["'../../", "'../../../src/"],
    ["'../", "'../../../src/runtime/"],
  ],
  'harness.ts': [
    ["'../../src/runtime/acme/", "'./"],
    ["'../fakes/acme/server.ts'", "'./vendor.ts'"],
    ["'../../src/", "'../../../src/"],
    ["'./", "'../"],
  ],
};

function moved(line: string, file: string): string {
  if (!/^(import|\} from) /.test(line)) return line;
  const move = MOVES[file]!.find(([from]) => line.includes(from));
  return move === undefined ? line : line.replace(move[0], move[1]);
}

/** Text by path. */
export function docExamples(root: string): Record<string, string> {
  const page = readFileSync(join(root, PAGE), 'utf8');
  return Object.fromEntries(
    Object.keys(MOVES).map((file) => {
      const blocks = [...page.matchAll(/```ts file=(\S+)\n(.*?)```/gs)].filter(([, name]) => name === file);
      const lines = blocks
        .map(([, , code]) => code!.trimEnd())
        .join('\n\n')
        .split('\n');
      const text = lines.map((line) => moved(line, file)).join('\n');
      return [`${HOME}/${file}`, `// Generated from ${PAGE} by \`npm run generate\`.\n${text}\n`];
    }),
  );
}
