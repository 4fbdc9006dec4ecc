import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { ArtifactItem } from '../../results/api/protocol.ts';
import { download } from '../download.ts';
import { answerOf, type Answer } from '../envelope.ts';
import { CliError } from '../errors.ts';
import { listArtifacts } from '../results-reader.ts';
import { getRun, refOf, type Session } from '../session.ts';
import { size, table } from '../table.ts';

export async function list(session: Session, name: string): Promise<Answer<'ArtifactList'>> {
  const ref = refOf(await getRun(session, name));
  const { items, complete } = await listArtifacts(session, ref);
  const data = items.map(({ name, rank, state, fileName, sizeBytes, sha256, message }) => ({
    name,
    rank,
    state,
    fileName: fileName ?? null,
    sizeBytes: sizeBytes ?? null,
    sha256: sha256 ?? null,
    message: message ?? null,
  }));
  const none = complete ? `${name} left no artifacts` : goesOn(name);
  const rows = data.map((a) => [
    a.name,
    String(a.rank),
    a.state,
    a.sizeBytes === null ? '' : size(a.sizeBytes),
    a.sha256 ?? '',
    a.message ?? '',
  ]);
  const text = rows.length === 0 ? none : table(['NAME', 'RANK', 'STATE', 'SIZE', 'DIGEST', 'MESSAGE'], rows);
  return answerOf('ArtifactList', { ...ref, complete, items: data }, text);
}

const goesOn = (name: string): string => `${name} goes on: what it leaves is known at its end`;

export interface GetOptions {
  rank: number | undefined;
  /** A file, or a folder that is there. */
  output: string | undefined;
}

export async function get(
  session: Session,
  name: string,
  artifact: string,
  options: GetOptions,
): Promise<Answer<'ArtifactFile'>> {
  const ref = refOf(await getRun(session, name));
  const { items, complete } = await listArtifacts(session, ref);
  if (items.length === 0 && !complete)
    throw new CliError(
      'wrongState',
      goesOn(name),
      `kubectl wait -n ${ref.namespace} --for=condition=Finished worldrun/${name}`,
    );
  const item = pick(items, ref, artifact, options.rank);
  const file = await target(item, options.output);
  const sha256 = await download(session, ref, item, file);
  const sizeBytes = item.sizeBytes ?? 0;
  return answerOf(
    'ArtifactFile',
    { ...ref, artifact, file, sizeBytes, sha256 },
    `${file}: ${size(sizeBytes)}, ${sha256}, as recorded`,
  );
}

function pick(
  items: readonly ArtifactItem[],
  ref: { namespace: string; name: string },
  artifact: string,
  rank: number | undefined,
): ArtifactItem {
  const next = `kubectl worldflux artifacts list ${ref.name} -n ${ref.namespace}`;
  const named = items.filter((item) => item.name === artifact && (rank === undefined || item.rank === rank));
  const [first, second] = named;
  if (first === undefined)
    throw new CliError(
      'notFound',
      `${ref.name} has no artifact ${artifact}${rank === undefined ? '' : ` of rank ${rank}`}`,
      next,
    );
  if (second !== undefined)
    throw new CliError(
      'usage',
      `several nodes left an artifact ${artifact}: choose one with --rank ${named.map((item) => item.rank).join('|')}`,
      next,
    );
  if (first.state !== 'Stored')
    throw new CliError(
      'notFound',
      `artifact ${artifact} is ${first.state}${first.message === undefined ? '' : `: ${first.message}`}`,
      next,
    );
  return first;
}

async function target(item: ArtifactItem, output: string | undefined): Promise<string> {
  // What a server calls a file must not choose the folder.
  const own = basename(item.fileName ?? item.name);
  const isFolder =
    output !== undefined &&
    (await stat(output).then(
      (found) => found.isDirectory(),
      () => false,
    ));
  const file = output === undefined ? own : isFolder ? join(output, own) : output;
  const taken = await stat(file).then(
    () => true,
    () => false,
  );
  if (taken) throw new CliError('wrongState', `${file} is already there; name another file with -o`);
  return file;
}
