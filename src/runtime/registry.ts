import type { DoctorLine } from '../crds/runtime-profile.ts';
import type { RuntimeName } from '../crds/vocabulary.ts';
import type { ProfileRef, Runtime, RuntimeIo } from './contract.ts';
import { isRuntimeError } from './errors.ts';

/** Every runtime that this operator has, by the name that a profile gives. Adding one is one line where it is built. */
export class RuntimeRegistry {
  readonly #runtimes: ReadonlyMap<RuntimeName, Runtime>;

  constructor(runtimes: readonly Runtime[]) {
    this.#runtimes = new Map(runtimes.map((runtime) => [runtime.name, runtime]));
  }

  /** Throws when the operator has no such runtime: the CRD admits only names that it has. */
  getRuntime(name: RuntimeName): Runtime {
    const runtime = this.#runtimes.get(name);
    if (runtime === undefined)
      throw new Error(`there is no runtime ${name}; there are ${this.listRuntimes().join(', ')}`);
    return runtime;
  }

  /** Whether the work of this runtime lies with a vendor, and not in a cluster that the controller watches. */
  isVendor(name: RuntimeName): boolean {
    return this.#runtimes.get(name)?.traits.kind === 'Vendor';
  }

  /** Names, sorted. */
  listRuntimes(): RuntimeName[] {
    return [...this.#runtimes.keys()].toSorted();
  }

  /** The doctor of each profile, side by side; one that cannot be asked is a line at level error, never a rejection. */
  async doctorAll(profiles: readonly { profile: ProfileRef; io: RuntimeIo }[]): Promise<Map<string, DoctorLine[]>> {
    const lines = await Promise.all(
      profiles.map(async ({ profile, io }) => {
        try {
          return await this.getRuntime(profile.spec.runtime).doctor(profile, io);
        } catch (error) {
          const message = isRuntimeError(error) ? error.message : 'the doctor failed';
          return [{ check: 'doctor', level: 'error', message: message.slice(0, 500) } as const];
        }
      }),
    );
    return new Map(profiles.map(({ profile }, i) => [profile.name, lines[i]!]));
  }
}
