import { redactText } from '../../telemetry/redaction.ts';

/** Longer words of a model are cut. */
const LONGEST = 400;

/**
 * What a model said when it failed, fit for a condition: without the profile's credentials, what looks like a secret,
 * and the queries of URLs.
 */
export function clean(words: string, credentials: Readonly<Record<string, string>>): string {
  let text = words;
  for (const secret of Object.values(credentials)) if (secret !== '') text = text.replaceAll(secret, '[redacted]');
  text = redactText(text.slice(0, 16 * LONGEST)).text;
  // oxlint-disable-next-line no-control-regex -- they are what is taken out
  text = text.replaceAll(/(https?:\/\/[^\s?#"'<>]*)[?#][^\s"'<>]*/g, '$1').replaceAll(/[\s\u0000-\u001f\u007f]+/g, ' ');
  text = text.trim();
  return text.length <= LONGEST ? text : `${text.slice(0, LONGEST)}…`;
}
