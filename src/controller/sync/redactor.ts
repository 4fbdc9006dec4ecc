import { Transform } from 'node:stream';
import { Redactor } from '../../telemetry/redaction.ts';
import { redact, secretsInUse } from '../../telemetry/secrets-in-use.ts';
import type { TextRedactor } from '../../upstream/upload-set.ts';

/**
 * The operator's own redactor: values of Secrets that it has read, and patterns. The values of forwarded secrets were taken
 * out when the log was stored, by fingerprints that are not kept.
 */
export const ownRedactor: TextRedactor = {
  redact,
  stream() {
    const redactor = new Redactor(secretsInUse.fingerprints());
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
