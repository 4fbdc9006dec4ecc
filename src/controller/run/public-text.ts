import { SECRET_LIKE_KEY, SIGNED_PARAMETER } from '../../crds/manifest.ts';
import { sanitizeText } from '../../telemetry/provider-event.ts';
import { redact, secretsInUse } from '../../telemetry/secrets-in-use.ts';

/** Free text of a user, made fit for a record: no credentials, no signed URLs, bounded, well-formed. Pure. */

/** At most `max` UTF-16 units, never half a character: the API server would store another text than was sent. */
export function clip(text: string, max: number): string {
  return (text.length <= max ? text : text.slice(0, max)).replace(/[\uD800-\uDBFF]$/, '').toWellFormed();
}

const size = (text: string): number => Buffer.byteLength(JSON.stringify(text)) - 2;

/** At most `max` bytes as JSON, quotes not counted; what is cut off is marked by `…`. */
export function clipBytes(text: string, max: number): string {
  let kept = text.toWellFormed();
  if (size(kept) <= max) return kept;
  while (kept !== '' && size(kept) > max - 3)
    kept = clip(kept, Math.min(kept.length - 1, Math.ceil((kept.length * (max - 3)) / size(kept))));
  return `${kept}…`;
}

/** Far more than is kept, so that a long text costs no more than a short one. */
const READ = 2048;
const URL_PARTS = /(\b[a-z][a-z0-9+.-]{0,31}:\/\/)(?:[^\s/?#]*@)?([^\s?#]*)(?:\?[^\s#]*)?/gi;
const ASSIGNED = new RegExp(
  `([a-z0-9_-]{0,64}${SECRET_LIKE_KEY.source.replace(/\$$/, '')})=("[^"]*"|'[^']*'|[^\\s&;'"]+)`,
  'gi',
);
const BEARER = /\b(bearer|basic)\s+[^\s'"]+/gi;

/** URLs lose their user and query (a signed one is a credential), `TOKEN=x` loses the value. */
export function publicText(text: string, max = 512): string {
  const plain = clip(text, READ)
    .replaceAll(URL_PARTS, '$1$2')
    .replaceAll(SIGNED_PARAMETER, (_, separator: string) => separator)
    .replaceAll(ASSIGNED, '$1=[redacted]')
    .replaceAll(BEARER, '$1 [redacted]');
  return clip(redact(plain), max);
}

/** The most that one message holds: seven of them stand in one status, and the beginning says most. */
const MOST_MESSAGE = 1000;

/** Words of a kubelet, a vendor or an API server, for a status: no secrets, no queries of URLs. `max` bytes of JSON. */
export function publicMessage(text: string, max = MOST_MESSAGE): string {
  if (text === '') return '';
  if (cleaned.revision !== secretsInUse.revision || cleaned.texts.size >= MOST_CLEANED)
    cleaned = { revision: secretsInUse.revision, texts: new Map() };
  const clean = cleaned.texts.get(text) ?? sanitizeText(text, redact, 2 * MOST_MESSAGE);
  cleaned.texts.set(text, clean);
  return clipBytes(clean, max);
}

/** Every pass over a run says the same few words again, and to look through them costs more than the rest of deciding. */
const MOST_CLEANED = 1024;
let cleaned = { revision: secretsInUse.revision, texts: new Map<string, string>() };

/** `--token=x`, `--api-key x`: the value of a secret-like flag does not belong into a record either. */
export function publicCommand(words: readonly string[]): string[] {
  let hideNext = false;
  return words.map((word) => {
    const hide = hideNext;
    hideNext = word.startsWith('-') && SECRET_LIKE_KEY.test(clip(word, READ));
    return hide && !word.startsWith('-') ? '[redacted]' : publicText(word);
  });
}
