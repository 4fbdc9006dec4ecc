import { readdirSync, readFileSync } from 'node:fs';

/** CPU and memory of processes as the kernel counts them (`/proc`); Linux only. */

/** Kernel ticks are 10 ms on every Linux that Node runs on. */
const TICK_MS = 10;

function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

export function residentBytes(pid: number): number {
  const found = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(found?.[1] ?? 0) * 1024;
}

/** Everything the machine did but idle and wait: user, nice, system, interrupts. */
function machineBusyMs(): number {
  const [user, nice, system, , , irq, softirq] = readFileSync('/proc/stat', 'utf8')
    .split('\n')[0]!
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return (user! + nice! + system! + irq! + softirq!) * TICK_MS;
}

export interface Usage {
  seconds: number;
  /** By process name, `driver` being this one. */
  cpuMs: Record<string, number>;
  peakRssBytes: Record<string, number>;
  /** CPU of everything else on the machine in the same time: noise. */
  foreignCpuMs: number;
}

/** Watches processes from now until `stop`. Memory is looked at four times a second. */
export class Meter {
  readonly #pids: Record<string, number>;
  readonly #before: Record<string, number>;
  readonly #peaks: Record<string, number> = {};
  readonly #busy = machineBusyMs();
  readonly #startedAt = performance.now();
  readonly #timer: NodeJS.Timeout;

  constructor(pids: Record<string, number>) {
    this.#pids = { ...pids, driver: process.pid };
    this.#before = this.#each(cpuMs);
    const look = () => {
      for (const [name, pid] of Object.entries(this.#pids))
        this.#peaks[name] = Math.max(this.#peaks[name] ?? 0, residentBytes(pid));
    };
    look();
    this.#timer = setInterval(look, 250);
  }

  stop(): Usage {
    clearInterval(this.#timer);
    const after = this.#each(cpuMs);
    const used = Object.fromEntries(Object.entries(after).map(([name, ms]) => [name, ms - this.#before[name]!]));
    const ours = Object.values(used).reduce((sum, ms) => sum + ms, 0);
    return {
      seconds: (performance.now() - this.#startedAt) / 1000,
      cpuMs: used,
      peakRssBytes: this.#peaks,
      foreignCpuMs: Math.max(0, machineBusyMs() - this.#busy - ours),
    };
  }

  #each(read: (pid: number) => number): Record<string, number> {
    return Object.fromEntries(Object.entries(this.#pids).map(([name, pid]) => [name, read(pid)]));
  }
}

/** On the command line of every collector; the host sees the processes of its pods. */
export const COLLECTOR = '/app/collector.mjs';

/** The most memory that one process held, from now until `stop`: that of this pid, or any with this word on its command line. */
export class PeakMemory {
  readonly #timer: NodeJS.Timeout;
  readonly #which: number | string;
  #peak = 0;

  constructor(which: number | string) {
    this.#which = which;
    this.#timer = setInterval(() => this.#look(), 250).unref();
  }

  stop(): number {
    clearInterval(this.#timer);
    return this.#peak;
  }

  #look(): void {
    const pids = typeof this.#which === 'number' ? [this.#which] : pidsWith(this.#which);
    for (const pid of pids) {
      try {
        this.#peak = Math.max(this.#peak, residentBytes(pid));
      } catch {
        // It has ended meanwhile.
      }
    }
  }
}

function pidsWith(word: string): number[] {
  return readdirSync('/proc').flatMap((name) => {
    try {
      return /^\d+$/.test(name) && readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0').includes(word)
        ? [Number(name)]
        : [];
    } catch {
      return [];
    }
  });
}
