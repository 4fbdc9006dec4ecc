import { Transform } from 'node:stream';
import { Redactor, redactText } from '../../telemetry/redaction.ts';
import type { TextRedactor } from '../../upstream/upload-set.ts';

/**
 * The operator's own redactor, by patterns. The values of forwarded secrets were taken out when the log was stored, by
 * fingerprints that are not kept.
 */
export const patternRedactor: TextRedactor = {
  redact: (text) => redactText(text).text,
  stream() {
    const redactor = new Redactor();
    return new Transform({
      transform(chunk: Buffer, _encoding, done) {
        done(null, redactor.push(chunk));
      },
      flush(done) {
        done(null, redactor.flush());
      },
    });
  },
};
