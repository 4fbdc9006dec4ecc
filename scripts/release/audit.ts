import { z } from 'zod';
import { execFile } from 'node:child_process';

/**
 * Asks npm's registry for known vulnerabilities of what the image ships. Exits with 1 at a high or critical one. Where
 * the registry (a mirror, or none) cannot answer, that is said; with --required it is an error, because a release that
 * nobody has asked about is none.
 */

const counts = z.object({ high: z.number(), critical: z.number(), total: z.number() });
const report = z.object({ metadata: z.object({ vulnerabilities: counts }) });

const required = process.argv.includes('--required');

// npm's exit code says both "found something" and "could not ask": only what it prints tells them apart.
const { stdout, stderr } = await new Promise<{ stdout: string; stderr: string }>((resolve) => {
  const argv = ['audit', '--json', '--omit=dev'];
  execFile('npm', argv, { timeout: 120_000, maxBuffer: 64 * 1024 * 1024 }, (_, out, err) =>
    resolve({ stdout: out, stderr: err }),
  );
});

const answer = report.safeParse(parsed(stdout));
if (!answer.success) {
  console.error(
    `audit: the registry did not answer${why(stdout) ?? (stderr.trim() === '' ? '' : `: ${stderr.trim().split('\n').at(-1)}`)}`,
  );
  process.exitCode = required ? 1 : 0;
} else {
  const { high, critical, total } = answer.data.metadata.vulnerabilities;
  console.log(`audit: ${critical} critical, ${high} high, ${total} in all`);
  if (high + critical > 0) {
    console.error('audit: npm audit --omit=dev names them');
    process.exitCode = 1;
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function why(text: string): string | undefined {
  const said = z.object({ message: z.string() }).safeParse(parsed(text));
  return said.success ? `: ${said.data.message}` : undefined;
}
