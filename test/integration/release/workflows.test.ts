import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { BUILD_TIMEOUT_MS, goTool } from '../../../scripts/tools/go-tool.ts';
import { run } from '../../cluster/process.ts';

const WORKFLOWS = join(import.meta.dirname, '..', '..', '..', '.github', 'workflows');

/** They run elsewhere; what can be said of them here is that they are well-formed, expressions and called workflows included. */
test(
  'actionlint has nothing to say of the workflows',
  async () => {
    const files = (await readdir(WORKFLOWS)).map((file) => join(WORKFLOWS, file));
    expect(await run([await goTool('actionlint'), '-no-color', ...files])).toBe('');
  },
  BUILD_TIMEOUT_MS,
);
