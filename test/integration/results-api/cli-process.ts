import { Writable } from 'node:stream';
import { expect } from 'vitest';
import {
  CLI_API_VERSION,
  errorBody,
  KINDS,
  type Answer,
  type ErrorCode,
  type Kind,
} from '../../../src/cli/envelope.ts';
import { run } from '../../../src/cli/program.ts';

/** `kubectl worldflux` as its user starts it. */

export interface Ended {
  code: number;
  out: string;
  err: string;
}

export interface Cli {
  (...argv: string[]): Promise<Ended>;
  /** With `--json`: the data, held against the schema of its kind. */
  json<K extends Kind>(kind: K, ...argv: string[]): Promise<Answer<K>['data']>;
  /** With `--json`: the error, held against its schema. */
  error(code: ErrorCode, ...argv: string[]): Promise<{ message: string; next: string | null; exitCode: number }>;
}

export function cliOf(kubeconfig: string): Cli {
  const cli = async (...argv: string[]): Promise<Ended> => {
    const [out, err] = [collector(), collector()];
    const signal = AbortSignal.timeout(120_000);
    const env = { ...process.env, KUBECONFIG: kubeconfig };
    const code = await run(argv, { stdout: out.stream, stderr: err.stream, env, signal });
    return { code, out: out.text(), err: err.text() };
  };
  const document = async (argv: string[]): Promise<{ code: number; body: Record<string, unknown> }> => {
    const { code, out, err } = await cli(...argv, '--json');
    expect(err).toBe('');
    const body = JSON.parse(out) as Record<string, unknown>;
    expect(body['apiVersion']).toBe(CLI_API_VERSION);
    return { code, body };
  };
  return Object.assign(cli, {
    async json<K extends Kind>(kind: K, ...argv: string[]): Promise<Answer<K>['data']> {
      const { body } = await document(argv);
      expect(body).toMatchObject({ kind });
      // Strict: a field that the schema does not know would be one that nobody documented.
      return KINDS[kind].strict().parse(body['data']) as Answer<K>['data'];
    },
    async error(code: ErrorCode, ...argv: string[]) {
      const { code: exitCode, body } = await document(argv);
      expect(body).toMatchObject({ kind: 'Error', error: { code } });
      const { message, next } = errorBody.strict().parse(body['error']);
      return { message, next, exitCode };
    },
  });
}

function collector(): { stream: Writable; text(): string } {
  const chunks: Buffer[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      chunks.push(Buffer.from(chunk));
      done();
    },
  });
  return { stream, text: () => Buffer.concat(chunks).toString('utf8') };
}
