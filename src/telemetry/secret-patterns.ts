/**
 * Secrets that are recognised by their shape or by what stands before them. Works on text and on bytes read as latin1
 * alike; nothing matches across a line break, so a text may be looked at line by line.
 *
 * Every pattern starts at a fixed word or at the edge of a token, and what repeats before a mandatory part is bounded:
 * hostile text of any length costs linear time.
 */

/** `from`..`to` is the secret; `start`..`end` also holds what gave it away, and must be seen in one piece. */
export interface Span {
  start: number;
  end: number;
  from: number;
  to: number;
}

const EDGE = '(?<![A-Za-z0-9_-])';

/** The whole match is the secret. */
const SHAPES: RegExp[] = [
  // Keys that say what they are: WorldFlux, Hugging Face, Replicate, Runway, GitHub, GitLab, Slack, npm, NVIDIA, Anyscale ...
  new RegExp(`${EDGE}(?:wbx|wfx|hf|r8|key|npm|gh[oprsu]|github_pat|api_org|ntn|dp|pplx)_[A-Za-z0-9_]{16,}`, 'g'),
  new RegExp(`${EDGE}(?:wbx|wfx)_[A-Za-z0-9_-]{6,}`, 'g'),
  new RegExp(`${EDGE}(?:glpat|nvapi|xox[abeoprs]|xapp|ya29|tskey|dop_v1|shpat)[-._][A-Za-z0-9._-]{16,}`, 'g'),
  new RegExp(`${EDGE}(?:sk|rk|pk)[-_](?:live_|test_|proj-|ant-|or-v1-|svcacct-)?[A-Za-z0-9_-]{16,}`, 'g'),
  // Modal's; a digit or a capital, or `as-expected-behaviour-of` would be one.
  new RegExp(`${EDGE}a[ks]-(?=[a-z-]{0,64}[A-Z0-9])[A-Za-z0-9_-]{12,}`, 'g'),
  new RegExp(`${EDGE}(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}`, 'g'),
  new RegExp(`${EDGE}AIza[A-Za-z0-9_-]{30,}`, 'g'),
  new RegExp(`${EDGE}eyJ[A-Za-z0-9_-]{4,}\\.[A-Za-z0-9_-]{2,}(?:\\.[A-Za-z0-9_-]*)*`, 'g'),
  // The first line of a key in DER (and of certificates) that lost the lines around it.
  /(?<![A-Za-z0-9+/])MI[CEGHIJ][A-Za-z0-9+/]{45,}={0,2}/g,
];

/** Group 1 is what stands before; the rest is the secret. */
const AFTER: RegExp[] = [
  /(\bbearer[ \t]+)(?=[^\s"',;]{6})[A-Za-z0-9._~+/=:-]+/gi,
  // Base64 with a digit, a capital or padding, or "basic training" would be one.
  /(\b[Bb](?:asic|ASIC)[ \t]+)(?=[a-z]{0,256}[A-Z0-9+/=])[A-Za-z0-9+/_-]{6,}={0,2}/g,
  /(:\/\/)[^\s/?#"'<>\\]{1,1024}(?=@)/g,
  // A password with a `#` or `/` in it, which no URL may hold and people write all the same: no port looks like that.
  /(:\/\/)[^\s/?#"'<>\\@:[]{0,256}:(?!\d{1,5}[/?#])[^\s?"'<>\\]{1,1024}(?=@)/g,
  // A header in prose, without its colon.
  /(\b(?:proxy-)?authorization[ \t]+(?:bearer|basic|token|digest|apikey)[ \t]+)[^\s"'].*/gi,
  // `Invalid token 8f0c...`: long, and of letters and digits without a dash, which names of Secrets hardly ever are.
  /(\b(?:token|key|secret|password|credentials?)[ \t"'`:]{1,4})(?=[A-Za-z_+/=]{0,64}\d)(?=[0-9_+/=]{0,64}[A-Za-z])[A-Za-z0-9_+/=]{20,}/gi,
  /([?&](?:amp;)?(?:x-amz-(?:signature|credential|security-token)|x-goog-(?:signature|credential)|signature|sig|token|access_token|refresh_token|id_token|api_?key|apikey|key|code|auth|secret|password|passwd|pass|pwd|key-pair-id|policy|jwt|sv_token)=)[^&\s"'<>#]+/gi,
];

const HEADER =
  /(?<![A-Za-z0-9_])(?:(?:proxy-)?authorization|(?:set-)?cookie2?|x-api-key|x-auth-token|x-amz-security-token)(?![A-Za-z0-9_-])/gi;
const WORD =
  /passw(?:or)?d|passwd|passphrase|pwd|secret|credential|api[ _-]?key|access[ _-]?key|account[ _-]?key|private[ _-]?key|signing[ _-]?key|encryption[ _-]?key|signature|signed[_-]?url|authorization|(?<!(?:eos|bos|pad|unk|sep|cls|mask|stop|special)_?)token(?!i[sz])|(?<![a-z])auth(?![a-z])|(?<![A-Za-z0-9])sig(?![A-Za-z0-9])/gi;
/** What may follow the word within a key, the key's own quote, and the sign that a value follows. */
const ASSIGNMENT = /([A-Za-z0-9_.-]{0,64})(?:\\{0,3}["'])?\]?[ \t]{0,8}(?::=|=>|==?|:|%3[ad])[ \t]{0,8}/iy;
/** `password<TAB>x`: columns of a table. */
const COLUMN = /([A-Za-z0-9_.-]{0,64})["']?[ ]{0,4}\t[ \t]{0,8}(?=\S)/y;
/** What stands under the heading `token` in a table of words is none. */
const RANDOM = /(?=[^\s\d]{0,64}\d)(?=[^\sA-Za-z]{0,64}[A-Za-z])\S{6,}/y;
/** `--password x` */
const FLAG = /([A-Za-z0-9-]{0,32})[ \t]{1,8}(?=[^\s-])/y;
/** Keys that are about a secret and hold none. */
const HARMLESS =
  /[_.-]?(?:names?|paths?|files?|dirs?|types?|counts?|len|lengths?|sizes?|limits?|budgets?|fields?|refs?|urls?|per[_.-].*|used|usage)$/i;
const NUMBER = /[[({ ]{0,4}[-+]?\d[\d_]*(?:\.\d+)?(?:[eE][-+]?\d+)?(?=[\s,;&)}\]"'<>\\]|$)/y;
const NOTHING = /(?:true|false|none|null|nil|undefined|\[redacted\]|\*{3,})(?=[\s,;&)}\]"'<>\\]|$)/iy;
const QUOTE = /\\{0,3}["']/y;
/** In a URL within a URL, the next parameter begins with `%26`. */
const BARE = /(?:[^\s,;&)}\]"'<>%]|%(?!26))+/y;
/** To the end of the line or of the text in quotes that it stands in; parameters in quotes are part of it. */
const HEADER_VALUE = /(?:=\\{0,3}(["'])[^"'\n\r\\]*\\{0,3}\1|[^\n\r"'])+/y;
const KEY_BEGIN = /-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,20}-----/g;
const KEY_END = /-----END [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,20}-----/g;

/** Every secret of a text, in order, none overlapping. A private key's is found up to the end of its line. */
export function findSecrets(text: string): Span[] {
  const spans: Span[] = [];
  for (const shape of SHAPES) {
    for (const match of text.matchAll(shape)) spans.push(whole(match.index, match.index + match[0].length));
  }
  for (const after of AFTER) {
    for (const match of text.matchAll(after)) {
      const end = match.index + match[0].length;
      spans.push({ start: match.index, end, from: match.index + (match[1]?.length ?? 0), to: end });
    }
  }
  addInOrder(spans, text, HEADER, headerValue);
  addInOrder(spans, text, WORD, assignedValue);
  if (text.includes('PRIVATE KEY')) addInOrder(spans, text, KEY_BEGIN, restOfKey);
  return merged(spans);
}

/** Whether the text's last private key has no end in it. */
export function leavesKeyOpen(text: string): boolean {
  const begin = [...text.matchAll(KEY_BEGIN)].at(-1);
  return begin !== undefined && closeOfKey(text, begin.index) === -1;
}

/** Offset behind the first end mark of a private key from `at` on; -1 when there is none. */
export function closeOfKey(text: string, at: number): number {
  const match = sticky(KEY_END, text, at);
  return match === undefined ? -1 : match.index + match[0].length;
}

type Finder = (text: string, match: RegExpExecArray) => Span | undefined;

/** What lies inside of a value that was found already is not looked at: nested finds would cost quadratic time. */
function addInOrder(spans: Span[], text: string, pattern: RegExp, find: Finder): void {
  let covered = 0;
  for (const match of text.matchAll(pattern)) {
    if (match.index < covered) continue;
    const span = find(text, match);
    if (span === undefined) continue;
    covered = span.to;
    spans.push(span);
  }
}

const restOfKey: Finder = (text, { index }) => {
  const newline = text.indexOf('\n', index);
  const lineEnd = newline === -1 ? text.length : newline;
  const close = closeOfKey(text.slice(index, lineEnd), 0);
  return whole(index, close === -1 ? lineEnd : index + close);
};

/** A header's value goes to the end of its line, or of the quotes around it. */
const headerValue: Finder = (text, match) => {
  const at = match.index + match[0].length;
  const value = sticky(ASSIGNMENT, text, at);
  if (value === undefined || value[1] !== '') return undefined;
  const from = at + value[0].length;
  const quoted = endOfQuoted(text, from);
  if (quoted !== undefined) return { start: match.index, ...quoted };
  const bare = sticky(HEADER_VALUE, text, from);
  if (bare === undefined) return undefined;
  const to = from + bare[0].length;
  return { start: match.index, end: to, from, to };
};

const assignedValue: Finder = (text, word) => {
  const before = text.slice(Math.max(0, word.index - 40), word.index);
  const flag = /(?:^|[\s"'])(--?[A-Za-z0-9-]{0,32})$/.exec(before)?.[1];
  const start = word.index - (flag?.length ?? 0);
  const at = word.index + word[0].length;
  const column = sticky(COLUMN, text, at);
  const assigned = sticky(ASSIGNMENT, text, at) ?? column ?? (flag === undefined ? undefined : sticky(FLAG, text, at));
  if (assigned === undefined || HARMLESS.test(assigned[1] ?? '')) return undefined;
  const from = at + assigned[0].length;
  const quoted = endOfQuoted(text, from);
  const inner = quoted?.from ?? from;
  if (sticky(NOTHING, text, inner) !== undefined) return undefined;
  // `max_tokens=5` and `token_count: 7` are numbers people need; a numeric password is still one.
  if (/^(?:token|sig|auth)$/i.test(word[0]) && sticky(NUMBER, text, inner) !== undefined) return undefined;
  if (assigned === column && /^(?:token|sig|auth)$/i.test(word[0]) && sticky(RANDOM, text, inner) === undefined)
    return undefined;
  // The shell's working directory.
  if (/^pwd$/i.test(word[0]) && text[inner] === '/') return undefined;
  if (quoted !== undefined) return quoted.to === quoted.from ? undefined : { start, ...quoted };
  const bare = sticky(BARE, text, from);
  if (bare === undefined) return undefined;
  const to = from + bare[0].length;
  return { start, end: to, from, to };
};

/** A value in quotes, also in escaped ones (JSON in JSON); one that is never closed ends with its line. */
function endOfQuoted(text: string, at: number): { from: number; to: number; end: number } | undefined {
  const quote = sticky(QUOTE, text, at)?.[0];
  if (quote === undefined) return undefined;
  const from = at + quote.length;
  const lineEnd = text.indexOf('\n', from);
  const limit = lineEnd === -1 ? text.length : lineEnd;
  for (let close = text.indexOf(quote, from); close !== -1 && close < limit; close = text.indexOf(quote, close + 1)) {
    if (quote.length > 1 || !isEscaped(text, close, from)) return { from, to: close, end: close + quote.length };
  }
  return { from, to: limit, end: limit };
}

function isEscaped(text: string, at: number, from: number): boolean {
  let slashes = 0;
  for (let i = at - 1; i >= from && text[i] === '\\'; i--) slashes += 1;
  return slashes % 2 === 1;
}

function sticky(pattern: RegExp, text: string, at: number): RegExpExecArray | undefined {
  pattern.lastIndex = at;
  return pattern.exec(text) ?? undefined;
}

function whole(start: number, end: number): Span {
  return { start, end, from: start, to: end };
}

function merged(spans: Span[]): Span[] {
  spans.sort((a, b) => a.from - b.from || b.to - a.to);
  const out: Span[] = [];
  for (const span of spans) {
    const last = out.at(-1);
    if (last !== undefined && span.from < last.to) {
      last.to = Math.max(last.to, span.to);
      last.start = Math.min(last.start, span.start);
      last.end = Math.max(last.end, span.end);
    } else out.push({ ...span });
  }
  return out;
}
