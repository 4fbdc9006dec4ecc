/** What goes wrong at one call, as a sentence about it. */
export const FAULTS = [
  'the process dies before it',
  'the process dies after its effect',
  'it takes effect and the connection is lost',
  'the connection is lost before it',
  'throttled, with Retry-After',
  'throttled, without Retry-After',
  '503, nothing done',
  '500 after its effect',
  'the key is rotated before it',
  'the key is revoked before it',
] as const;
export type Fault = (typeof FAULTS)[number];

export const DEATHS: readonly Fault[] = ['the process dies before it', 'the process dies after its effect'];
/** What HTTP can do to a call. */
export const HTTP_FAULTS: readonly Fault[] = FAULTS;

/** The process is no more; only what was recorded is left. */
export class Death extends Error {
  override readonly name = 'Death';
}

/** `call`: its number, from 0; `faults`: what can befall it. */
export type Misfortune = (call: number, faults: readonly Fault[]) => Fault | undefined;

/** Every call to the outside passes here, in order: at the vendor, and at the place where the driver keeps its record. */
export class Calls {
  /** In the order in which they were made. */
  readonly made: { readonly name: string; readonly faults: readonly Fault[] }[] = [];
  /** What befalls which call. */
  misfortune: Misfortune = () => undefined;
  dead = false;
  readonly #dying: (() => void)[] = [];

  /** A call is about to be made; answers what goes wrong with it. */
  begin(name: string, faults: readonly Fault[]): Fault | undefined {
    if (this.dead) throw new Death(name);
    this.made.push({ name, faults });
    return this.misfortune(this.made.length - 1, faults);
  }

  /** A call that only the death of the process can befall. */
  async do<T>(name: string, effect: () => Promise<T> | T): Promise<T> {
    const fault = this.begin(name, DEATHS);
    if (fault === 'the process dies before it') throw this.die();
    const answer = await effect();
    if (fault === 'the process dies after its effect') throw this.die();
    if (this.dead) throw new Death(name);
    return answer;
  }

  onDeath(what: () => void): void {
    this.#dying.push(what);
  }

  die(): Death {
    this.dead = true;
    for (const what of this.#dying.splice(0)) what();
    return new Death('the process died');
  }

  revive(): void {
    this.dead = false;
  }
}
