import { INITIAL_STATUS } from '../../crds/world-run-status.ts';
import type { AttemptStatus, WorldRunStatus } from '../../crds/world-run-status.ts';
import { worldRunSpec, type WorldRunSpec } from '../../crds/world-run.ts';
import { conditionsOf, mergeConditions, phaseOf, type Situation } from '../run/situation.ts';
import { projectRun, type LiveRun, type RunView, type SettledRun, type WorldRun } from '../run/view.ts';
import { at, ms } from '../../runtime/local/testing/clock.ts';

type SpecInput = Record<string, unknown>;

/** A WorldRun as the API server would hold it. Each method gives a changed copy, so that a scenario reads as a sentence. */
export class RunBuilder {
  readonly #run: WorldRun;

  constructor(run: WorldRun) {
    this.#run = run;
  }

  #with(patch: { metadata?: object; status?: Partial<WorldRunStatus> }): RunBuilder {
    const { metadata, status } = this.#run;
    return new RunBuilder({
      ...this.#run,
      metadata: { ...metadata, ...patch.metadata },
      status: { ...status, ...patch.status },
    });
  }

  /** Any fields of the spec, with the schema's defaults inside the ones given. */
  asking(spec: SpecInput): RunBuilder {
    const asked = worldRunSpec.parse(spec) as WorldRunSpec;
    const given = Object.fromEntries(Object.keys(spec).map((key) => [key, asked[key as keyof WorldRunSpec]]));
    return new RunBuilder({ ...this.#run, spec: { ...this.#run.spec, ...given } });
  }

  withProfile(name: string): RunBuilder {
    return this.asking({ runtimeProfileRef: { name } });
  }

  onNodes(nodes: number): RunBuilder {
    return this.asking({ nodes });
  }

  suspended(): RunBuilder {
    return this.asking({ suspend: true }).#generation();
  }

  resumed(): RunBuilder {
    return this.asking({ suspend: false }).#generation();
  }

  cancelled(): RunBuilder {
    return this.asking({ cancel: true }).#generation();
  }

  dry(): RunBuilder {
    return this.asking({ dryRun: true });
  }

  retrying(maxAttempts: number, ...onReasons: string[]): RunBuilder {
    return this.asking({ retry: { maxAttempts, ...(onReasons.length > 0 && { onReasons }) } });
  }

  within(timeouts: Partial<WorldRunSpec['timeouts']>): RunBuilder {
    return this.asking({ timeouts: { ...this.#run.spec.timeouts, ...timeouts } });
  }

  keyed(runKey: string): RunBuilder {
    return this.asking({ runKey });
  }

  #generation(): RunBuilder {
    return this.#with({ metadata: { generation: (this.#run.metadata?.generation ?? 1) + 1 } });
  }

  named(name: string, uid = `uid-${name}`): RunBuilder {
    return this.#with({ metadata: { name, uid } });
  }

  inNamespace(namespace: string): RunBuilder {
    return this.#with({ metadata: { namespace } });
  }

  createdAt(seconds: number): RunBuilder {
    return this.#with({ metadata: { creationTimestamp: at(seconds) } });
  }

  annotated(annotations: Record<string, string>): RunBuilder {
    return this.#with({ metadata: { annotations: { ...this.#run.metadata?.annotations, ...annotations } } });
  }

  deleting(): RunBuilder {
    return this.#with({ metadata: { deletionTimestamp: at(0) } });
  }

  status(status: Partial<WorldRunStatus>): RunBuilder {
    return this.#with({ status });
  }

  /** What its status says, in the words that the operator itself would write. */
  saying(situation: Situation, seconds = 0): RunBuilder {
    const { status, metadata } = this.#run;
    const conditions = mergeConditions(status?.conditions, conditionsOf(situation), metadata!.generation!, ms(seconds));
    return this.status({ phase: phaseOf(situation), conditions: [...conditions] });
  }

  pinnedTo(name: string, digest: string): RunBuilder {
    return this.status({ profile: { name, digest } });
  }

  /** The status lists this attempt; one without `finishedAt` is at work. */
  attempt(attempt: Partial<AttemptStatus> & { number: number }): RunBuilder {
    const attempts = [...(this.#run.status?.attempts ?? []).filter((a) => a.number !== attempt.number), attempt];
    return this.status({ attempts, attemptCount: Math.max(...attempts.map((a) => a.number)) });
  }

  build(): WorldRun {
    return structuredClone(this.#run);
  }

  view(): RunView {
    return projectRun(this.build());
  }

  live(): LiveRun {
    const view = this.view();
    if (view.state !== 'live') throw new Error('this run has ended');
    return view;
  }

  settled(): SettledRun {
    const view = this.view();
    if (view.state !== 'settled') throw new Error('this run has not ended');
    return view;
  }
}

/** The shortest real run: a name, an image, a command. Created at second 0 in namespace `team`. */
export function aRun(name = 'pendulum'): RunBuilder {
  return new RunBuilder({
    apiVersion: 'worldflux.ai/v1alpha1',
    kind: 'WorldRun',
    metadata: {
      namespace: 'team',
      name,
      uid: `uid-${name}`,
      generation: 1,
      resourceVersion: '1',
      creationTimestamp: at(0),
    },
    spec: worldRunSpec.parse({ command: ['python', 'train.py'] }),
    status: structuredClone(INITIAL_STATUS) as unknown as WorldRunStatus,
  });
}
