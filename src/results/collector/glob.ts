/** True for a path that is a pattern and not a name. */
export function isGlob(path: string): boolean {
  return /[*?[{]/.test(path);
}

/** The folder above the first pattern: what must be walked. Empty for the output folder itself. */
export function globBase(pattern: string): string {
  const segments = pattern.split('/');
  const first = segments.findIndex(isGlob);
  return segments.slice(0, first).join('/');
}

/**
 * `*` and `?` within a segment, `**` over any number of segments, `[a-z]`, `{a,b}`. As shells do, a name that begins
 * with a dot is matched only by a pattern that says the dot. Case counts.
 */
export function globMatcher(pattern: string): (path: string) => boolean {
  const expression = new RegExp(`^${expand(pattern).map(translate).join('|')}$`, 'su');
  return (path) => expression.test(path);
}

/** Braces first: one pattern for each choice. Bounded, so that a spec cannot ask for billions. */
function expand(pattern: string): string[] {
  let patterns = [pattern];
  for (let round = 0; round < 8; round++) {
    const next = patterns.flatMap((one) => {
      const found = /\{([^{}]*)\}/.exec(one);
      if (found === null) return [one];
      const [before, after] = [one.slice(0, found.index), one.slice(found.index + found[0].length)];
      return (found[1] ?? '').split(',').map((choice) => `${before}${choice}${after}`);
    });
    if (next.length > 256) return patterns;
    patterns = next;
  }
  return patterns;
}

const NOT_HIDDEN = '(?!\\.)';

function translate(pattern: string): string {
  const segments = pattern.split('/').filter((segment, i, all) => segment !== '**' || all[i - 1] !== '**');
  const last = segments.length - 1;
  const parts = segments.map((segment, i) => {
    if (segment !== '**') return translateSegment(segment) + (i === last ? '' : '/');
    return i === last ? `(?:${NOT_HIDDEN}[^/]+/)*${NOT_HIDDEN}[^/]+` : `(?:${NOT_HIDDEN}[^/]+/)*`;
  });
  return `(?:${parts.join('')})`;
}

function translateSegment(segment: string): string {
  const text = segment.replaceAll(
    /\*+|\?|\[(!|\^)?(\]?[^\]]*)\]|[\s\S]/gu,
    (token, negated: string | undefined, set: string | undefined) => {
      if (token.startsWith('*')) return '[^/]*';
      if (token === '?') return '[^/]';
      if (set === undefined || set === '') return escape(token);
      return `[${negated === undefined ? '' : '^/'}${set.replaceAll(/[\\[\]^&|~`]/g, '\\$&')}]`;
    },
  );
  return /^[*?[]/.test(segment) ? NOT_HIDDEN + text : text;
}

function escape(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
}
