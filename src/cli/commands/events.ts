import { answerOf, KINDS, type Answer } from '../envelope.ts';
import { readResult } from '../results-reader.ts';
import { getRun, isFinished, refOf, type Session } from '../session.ts';
import { table } from '../table.ts';

/** The run's calls to vendors and to WorldFlux, as they lie in the run store. */
export async function events(session: Session, name: string): Promise<Answer<'EventList'>> {
  const run = await getRun(session, name);
  const ref = refOf(run);
  const lines = (await readResult(session, ref, 'events')).split('\n').filter((line) => line !== '');
  const items = lines.map((line) => KINDS.EventList.shape.items.element.parse(JSON.parse(line)));
  const none = `no call to a vendor or to WorldFlux is recorded of ${name}${isFinished(run) ? '' : '; while it runs, they are stored every five minutes'}`;
  return answerOf('EventList', { ...ref, items }, items.length === 0 ? none : show(items));
}

function show(items: Answer<'EventList'>['data']['items']): string {
  const rows = items.map((item) => [
    item.at,
    item.provider,
    item.operation,
    item.phase,
    `${item.attempt}/${item.max_attempts}`,
    item.status_code === null ? '' : String(item.status_code),
    item.duration_ms === null ? '' : String(Math.round(item.duration_ms)),
    item.message,
  ]);
  return table(['TIME', 'PROVIDER', 'OPERATION', 'PHASE', 'TRY', 'STATUS', 'MS', 'MESSAGE'], rows);
}
