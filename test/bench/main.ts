import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { arch, cpus, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { run } from '../cluster/process.ts';
import { drainAfterOutage } from '../faults/sync/load.ts';
import { WHOS, type Form, type Load, type Who } from './driver.ts';
import { measureArtifacts } from './artifact.ts';
import { measureLiveRuns } from './live-runs.ts';
import { describeLoad, measureLoad, type LoadResult } from './load.ts';
import { imageNodeArgs, operatorFile, type Entry } from './operator-process.ts';
import { measureProduct } from './product.ts';
import { renderReport, tablesOf, versionsNow, type Measured } from './report.ts';
import { measureStatusWrites } from './status-writes.ts';

/** `npm run bench`: measures the operator next to plain Jobs on a control plane of its own. See docs/benchmarks. */

const ROOT = join(import.meta.dirname, '../..');
const REPORTS = join(ROOT, 'docs/benchmarks');

type Outcome = Pick<Measured, 'loads' | 'live' | 'statusWrites' | 'sync' | 'product' | 'artifacts'>;
interface Options {
  entry: Entry;
  /** Undefined: those whom the scenario is about. */
  whos: readonly Who[] | undefined;
  repeat: number;
  live: number;
  artifactMiB: number;
}

const loads =
  (form: Form, load: Load, { rounds = 1, whos = WHOS.slice(0, 2) }: { rounds?: number; whos?: readonly Who[] } = {}) =>
  async (o: Options): Promise<Outcome> => {
    const results: LoadResult[] = [];
    // In turn, A B A B: whatever drifts on this machine then meets both.
    for (let round = 0; round < rounds * o.repeat; round += 1) {
      for (const who of o.whos ?? whos) {
        console.log(`… ${form}, ${describeLoad(load)}: ${who}`);
        results.push(await measureLoad(form, who, load, o.entry));
      }
    }
    return { loads: results };
  };

/** In the order in which they run. Those marked `asked` run only by name. */
const SCENARIOS: Record<string, { measure: (o: Options) => Promise<Outcome>; asked?: boolean }> = {
  'full-5': { measure: loads('full', { perSecond: 5, seconds: 60 }) },
  'full-20': { measure: loads('full', { perSecond: 20, seconds: 60 }) },
  'full-burst': { measure: loads('full', { burst: 1000 }) },
  'nojob-20': { measure: loads('nojob', { perSecond: 20, seconds: 60 }, { whos: WHOS }) },
  'nojob-burst': { measure: loads('nojob', { burst: 1000 }, { rounds: 2 }) },
  live: { measure: async (o) => ({ live: [await measureLiveRuns(o.live, o.entry)] }) },
  sync: { measure: async () => ({ sync: [await drainAfterOutage({ runs: 1000, perTarget: 4, ledger: true })] }) },
  product: { measure: async () => ({ product: [await measureProduct(50)] }) },
  artifact: { measure: async (o) => ({ artifacts: await measureArtifacts(o.artifactMiB * 2 ** 20) }) },
  'status-writes': { measure: async (o) => ({ statusWrites: await measureStatusWrites(o.entry) }), asked: true },
};

const USAGE = `Usage: npm run bench -- [options]
  --only A,B       these scenarios (words that their names contain)
  --list           name them and stop
  --who A,B        of ${WHOS.map((who) => JSON.stringify(who)).join(', ')} (default: as the scenario needs)
  --repeat N       each pair of rows N times (default 1)
  --live N         runs of the scenario "live" (default 10000)
  --artifact MIB   size of the one of the scenario "artifact" (default 2048)
  --sources        run the operator from its sources, not from the bundle
  --node-args ARGS arguments for the operator's node process besides the image's own, such as --cpu-prof
  --no-save        print only; docs/benchmarks stays as it is
`;

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    list: { type: 'boolean' },
    who: { type: 'string' },
    repeat: { type: 'string', default: '1' },
    live: { type: 'string', default: '10000' },
    artifact: { type: 'string', default: '2048' },
    sources: { type: 'boolean', default: false },
    'node-args': { type: 'string', default: '' },
    'no-save': { type: 'boolean', default: false },
    help: { type: 'boolean' },
  },
});

if (values.help === true) process.stdout.write(USAGE);
else if (values.list === true) console.log(Object.keys(SCENARIOS).join('\n'));
else await main();

async function main(): Promise<void> {
  const words = values.only?.split(',');
  const whos = values.who?.split(',').map(whoNamed);
  const chosen = Object.entries(SCENARIOS).filter(([name, { asked }]) =>
    words === undefined ? asked !== true : words.some((word) => name.includes(word)),
  );
  if (chosen.length === 0) throw new Error(`no scenario is called ${values.only}: see --list`);
  const from = values.sources ? 'sources' : 'bundle';
  const work = await mkdtemp(join(tmpdir(), 'worldflux-bench-'));
  try {
    const file = await operatorFile(from, work);
    const asked = values['node-args'].split(' ').filter((arg) => arg !== '');
    const nodeArgs = [...(await imageNodeArgs()), ...asked];
    const options = {
      entry: { file, nodeArgs },
      whos,
      repeat: Number(values.repeat),
      live: Number(values.live),
      artifactMiB: Number(values.artifact),
    };
    const versions = versionsNow(await commit(), from);
    for (const [scenario, { measure }] of chosen) {
      const outcome = await measure(options);
      const measured: Measured = {
        scenario,
        measuredAt: new Date().toISOString(),
        machine: machine(),
        versions,
        ...outcome,
      };
      console.log(`\n${tablesOf(measured)}\n`);
      if (!values['no-save']) await save(measured);
    }
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

function whoNamed(name: string): Who {
  const who = WHOS.find((each) => each === name);
  if (who === undefined) throw new Error(`nobody is called ${name}: see --help`);
  return who;
}

async function save(measured: Measured): Promise<void> {
  await mkdir(REPORTS, { recursive: true });
  await writeFile(join(REPORTS, `${measured.scenario}.json`), `${JSON.stringify(measured, null, 1)}\n`);
  const kept = new Set(await readdir(REPORTS));
  const files = Object.keys(SCENARIOS)
    .map((name) => `${name}.json`)
    .filter((file) => kept.has(file));
  const all = await Promise.all(
    files.map(async (file) => JSON.parse(await readFile(join(REPORTS, file), 'utf8')) as Measured),
  );
  await writeFile(join(REPORTS, 'README.md'), renderReport(all));
}

function machine(): Measured['machine'] {
  const list = cpus();
  return {
    cpu: `${list[0]?.model.trim() ?? 'unknown'} (${arch()})`,
    cores: list.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
  };
}

/** The commit that was measured; marked where the tree held more than that. */
async function commit(): Promise<string> {
  const git = ['git', '-C', ROOT];
  const [head, changes] = await Promise.all([
    run([...git, 'rev-parse', '--short', 'HEAD']),
    run([...git, 'status', '--porcelain', 'src']),
  ]);
  return head.trim() + (changes.trim() === '' ? '' : ' with changes');
}
