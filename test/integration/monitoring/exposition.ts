/**
 * Prometheus' text format, read as strictly as its own tools do: every family has HELP and TYPE before its samples and
 * stands in one piece, no series comes twice, a histogram's buckets add up. Throws with the line that is wrong.
 */

export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

export interface Family {
  name: string;
  type: 'counter' | 'gauge' | 'histogram' | 'summary';
  help: string;
  samples: Sample[];
  /** Without `le` and `quantile`; undefined where there is no sample. */
  labels: string[] | undefined;
}

const SUFFIXES = {
  counter: [''],
  gauge: [''],
  histogram: ['_bucket', '_sum', '_count'],
  summary: ['', '_sum', '_count'],
};
/** `Nan`: what the client library writes for a mean of nothing; Prometheus reads numbers whatever their case. */
const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (-?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|Inf)|\+Inf|N[Aa][Nn])$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)/y;

export function readExposition(text: string): ReadonlyMap<string, Family> {
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  const families = new Map<string, Family>();
  const series = new Set<string>();
  let help: { name: string; text: string } | undefined;
  let family: Family | undefined;
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const [, kind, about = '', rest = ''] = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line) ?? [];
    if (kind === 'HELP') help = { name: about, text: rest };
    else if (kind === 'TYPE') {
      if (help?.name !== about) throw new Error(`no HELP before: ${line}`);
      if (!(rest in SUFFIXES) || families.has(about)) throw new Error(`wrong or second TYPE: ${line}`);
      family = { name: about, type: rest as Family['type'], help: help.text, samples: [], labels: undefined };
      families.set(about, family);
    } else {
      const sample = readSample(line);
      if (family === undefined || !SUFFIXES[family.type].some((suffix) => sample.name === `${family!.name}${suffix}`))
        throw new Error(`not in its family: ${line}`);
      const identity = `${sample.name} ${JSON.stringify(Object.entries(sample.labels).toSorted())}`;
      if (series.has(identity)) throw new Error(`twice: ${line}`);
      series.add(identity);
      family.samples.push(sample);
    }
  }
  for (const each of families.values()) check(each);
  return families;
}

function readSample(line: string): Sample {
  const [, name = '', inside = '', value = ''] = SAMPLE.exec(line) ?? [];
  if (name === '') throw new Error(`no sample: ${line}`);
  const labels: Record<string, string> = {};
  LABEL.lastIndex = 0;
  while (LABEL.lastIndex < inside.length) {
    const at = LABEL.lastIndex;
    const [, label, text] = LABEL.exec(inside) ?? [];
    if (label === undefined || label in labels) throw new Error(`labels are wrong from ${at}: ${line}`);
    labels[label] = text ?? '';
  }
  return { name, labels, value: value.endsWith('Inf') ? Number(`${value}inity`) : Number(value) };
}

function check(family: Family): void {
  const { name, type, samples } = family;
  if (type === 'counter' && !name.endsWith('_total')) throw new Error(`a counter not called _total: ${name}`);
  if (type === 'counter' && samples.some(({ value }) => value < 0)) throw new Error(`a counter below zero: ${name}`);
  const shapes = new Set(samples.map(({ labels }) => JSON.stringify(plain(labels).toSorted())));
  if (shapes.size > 1) throw new Error(`series of ${name} have different labels`);
  const [shape] = shapes;
  family.labels = shape === undefined ? undefined : (JSON.parse(shape) as string[]);
  if (type === 'histogram') checkBuckets(family);
}

const plain = (labels: Record<string, string>): string[] =>
  Object.keys(labels).filter((label) => label !== 'le' && label !== 'quantile');

function checkBuckets({ name, samples }: Family): void {
  const key = ({ labels }: Sample): string =>
    JSON.stringify(
      Object.entries(labels)
        .filter(([label]) => label !== 'le')
        .toSorted(),
    );
  const counts = new Map(samples.filter((s) => s.name === `${name}_count`).map((s) => [key(s), s.value]));
  const buckets = Map.groupBy(
    samples.filter((s) => s.name === `${name}_bucket`),
    key,
  );
  for (const [series, of] of buckets) {
    const bounds = of.map(({ labels }) => Number(labels['le']!.replace('Inf', 'Infinity')));
    if (!bounds.every((bound, i) => i === 0 || bound > bounds[i - 1]!))
      throw new Error(`bounds of ${name}: ${bounds.join(' ')}`);
    if (!of.every(({ value }, i) => i === 0 || value >= of[i - 1]!.value)) throw new Error(`${name} does not add up`);
    if (bounds.at(-1) !== Infinity || of.at(-1)?.value !== counts.get(series))
      throw new Error(`${name} has no last bucket`);
  }
}
