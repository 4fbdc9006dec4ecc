import { destination, pino, type DestinationStream, type Logger } from 'pino';
import { redact } from './secrets-in-use.ts';

/**
 * The process's log: one JSON object a line, and no secret in any, whatever an error or a library put into it. Written at
 * once, so that the last words of a process that dies are there.
 */
export function openLog(level: string, to: DestinationStream = destination({ sync: true })): Logger {
  return pino({ level, base: null, hooks: { streamWrite: cleanLine } }, to);
}

/** A whole line of the log, without its secrets and still JSON. */
function cleanLine(line: string): string {
  const clean = redact(line);
  if (clean === line) return line;
  try {
    JSON.parse(clean);
    return clean;
  } catch {
    // What was cut out crossed a quote. The words are lost; that something happened, and when, is not.
    const [, level = '50', time = String(Date.now())] = /^\{"level":(\d+),"time":(\d+)/.exec(line) ?? [];
    return `{"level":${level},"time":${time},"msg":"[redacted] as a whole: no JSON was left without its secrets"}\n`;
  }
}
