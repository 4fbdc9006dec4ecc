import type { Change, Entry, Outcome } from './driver.ts';
import type { Account, Behaviour, Trait } from './harness.ts';

export interface Scenario {
  readonly name: string;
  /** How many runs ask for the same thing at once. */
  readonly runs: number;
  readonly behaviour: Behaviour;
  /** Seconds that the vendor is given for each. */
  readonly deadlineSeconds: number;
  /** Without it the scenario cannot be. */
  readonly needs?: Trait;
  /** What people, or the vendor, do as soon as a record changes so. */
  when?(change: Change, entry: Entry, account: Account): void;
  /** How each run may end; the first one without any fault. */
  readonly outcomes: readonly Outcome[];
  /** Pieces of work that are created, at least and at most. */
  readonly created: readonly [least: number, most: number];
}

const SOON: Behaviour = { queueSeconds: 10, runSeconds: 30, fails: false, listsLag: false };
const LONG: Behaviour = { ...SOON, runSeconds: 3000 };
const MIDDLING: Behaviour = { ...SOON, runSeconds: 120 };
const LONG_QUEUE: Behaviour = { ...SOON, queueSeconds: 3000 };
const ENOUGH = 7200;

const base = { runs: 1, deadlineSeconds: ENOUGH, created: [1, 1] } as const;

const stops = (at: Change, how: 'cancel' | 'delete') => (change: Change, entry: Entry) => {
  if (change === at) entry.stop ??= how;
};

const deleted = (at: Change, behaviour: Behaviour, more: Partial<Scenario> = {}): Scenario => ({
  ...base,
  name: `deleted at ${at}`,
  behaviour,
  when: stops(at, 'delete'),
  outcomes: ['cancelled'],
  ...more,
});

/** A stop of several steps that was cut short may look like a failure until it is called again. */
const STOPPED: readonly Outcome[] = ['cancelled', 'failed'];

export const SCENARIOS: readonly Scenario[] = [
  { ...base, name: 'succeeds', behaviour: SOON, outcomes: ['succeeded'] },
  { ...base, name: 'fails at the vendor', behaviour: { ...SOON, fails: true }, outcomes: ['failed'] },
  { ...base, name: 'reaches the vendor’s own deadline', behaviour: LONG, deadlineSeconds: 60, outcomes: ['failed'] },
  {
    ...base,
    name: 'cancelled while it is queued',
    behaviour: LONG_QUEUE,
    needs: 'queue',
    when: stops('queued', 'cancel'),
    outcomes: STOPPED,
  },
  {
    ...base,
    name: 'cancelled while it runs',
    behaviour: LONG,
    when: stops('running', 'cancel'),
    outcomes: STOPPED,
  },
  // A process that died between the intent and the request leaves nothing, one that died after it leaves work.
  deleted('intent', LONG, { outcomes: ['never created', 'cancelled'], created: [0, 1] }),
  deleted('handle', LONG),
  deleted('queued', LONG_QUEUE, { needs: 'queue', outcomes: STOPPED }),
  deleted('running', LONG, { outcomes: STOPPED }),
  deleted('end', SOON, { outcomes: ['succeeded'] }),
  deleted('result', SOON, { outcomes: ['succeeded'] }),
  {
    ...base,
    name: 'vanishes while it runs',
    behaviour: LONG,
    needs: 'loss',
    when: (change, _, account) => change === 'running' && account.loseEverything!(),
    outcomes: ['lost'],
  },
  { ...base, name: 'lists lag', behaviour: { ...MIDDLING, listsLag: true }, outcomes: ['succeeded'] },
  // What nobody can tell apart is not bought again, though it may not have been bought.
  {
    ...base,
    name: 'requests come back changed',
    behaviour: { ...MIDDLING, changesRequests: true },
    needs: 'changes',
    outcomes: ['succeeded', 'unresolved'],
  },
  { ...base, name: 'two alike at once', runs: 2, behaviour: MIDDLING, outcomes: ['succeeded'], created: [2, 2] },
  {
    ...base,
    name: 'three alike at once, lists lag',
    runs: 3,
    behaviour: { ...MIDDLING, listsLag: true },
    outcomes: ['succeeded'],
    created: [3, 3],
  },
];
