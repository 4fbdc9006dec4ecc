import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '..');
const page = readFileSync(join(ROOT, 'docs/security.md'), 'utf8');
const NAMED = /`((?:src|test)\/[^`]+\.ts)` › “([^”]+)”/g;

test('every test that docs/security.md names exists under that title', () => {
  const named = [...page.matchAll(NAMED)].map(([, file = '', title = '']) => ({ file, title }));
  expect(named.length).toBeGreaterThan(40);
  const missing = named.filter(({ file, title }) => {
    if (!existsSync(join(ROOT, file))) return true;
    const source = readFileSync(join(ROOT, file), 'utf8');
    return !["'", '"', '`'].some((quote) => source.includes(`(${quote}${title}${quote},`));
  });
  expect(missing).toEqual([]);
});

test('every row of the table of attacks names a test, and every file that the page names is there', () => {
  const table = page.slice(page.indexOf('## Attacks that were tried'), page.indexOf('## How secrets stay inside'));
  const rows = table.split('\n').filter((line) => line.startsWith('| ') && !/^\| (Attack|-+) /.test(line));
  expect(rows.filter((row) => row.match(NAMED) === null)).toEqual([]);
  const files = [...page.matchAll(/`((?:src|test|docs|charts)\/[^`\s]+\.[a-z]+)`/g)].map(([, file = '']) => file);
  expect(files.filter((file) => !existsSync(join(ROOT, file)))).toEqual([]);
  const links = [...page.matchAll(/\]\(([^)#:]+)\)/g)].map(([, link = '']) => link);
  expect(links.filter((link) => !existsSync(join(ROOT, 'docs', link)))).toEqual([]);
});
