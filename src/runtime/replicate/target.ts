import type { ReplicateProfile } from '../../crds/runtime-profile.ts';
import type { Prediction } from './answers.ts';

/** What a prediction is made with. Names as the profile writes them; they are compared without regard to case. */
export type Target =
  | { readonly kind: 'model'; readonly name: string }
  /** `model` where the profile names it too. */
  | { readonly kind: 'version'; readonly id: string; readonly model: string | undefined }
  | { readonly kind: 'deployment'; readonly name: string };

export function targetOf({ model, version, deployment }: ReplicateProfile): Target {
  if (model !== undefined) return { kind: 'model', name: model };
  if (deployment !== undefined) return { kind: 'deployment', name: deployment };
  const [id, owner] = (version ?? '').split(':').toReversed();
  return { kind: 'version', id: id ?? '', model: owner };
}

export function describeTarget(target: Target): string {
  switch (target.kind) {
    case 'model':
      return `model ${target.name}`;
    case 'deployment':
      return `deployment ${target.name}`;
    case 'version':
      return `version ${target.model === undefined ? '' : `${target.model}:`}${target.id.slice(0, 12)}`;
  }
}

/** What stands for it in a request's digest: nothing that another way of writing the same changes. */
export function targetKey(target: Target): string {
  return target.kind === 'version' ? `version ${target.id}` : `${target.kind} ${target.name.toLowerCase()}`;
}

/**
 * Whether a prediction may have been made with the target. In doubt it may: it still has to have the same input, and
 * taking somebody's identical prediction for ours is cheaper than buying a second one.
 *
 * `releaseModel`: the model that a deployment runs, for predictions that do not name their deployment.
 */
export function mayBeOf(target: Target, prediction: Prediction, releaseModel: string | undefined): boolean {
  const { model, deployment } = prediction;
  switch (target.kind) {
    case 'model':
      return deployment === undefined && (model === undefined || isSame(model, target.name));
    case 'deployment': {
      if (deployment !== undefined)
        return isSame(target.name, deployment) || isSame(target.name.split('/')[1], deployment);
      return releaseModel === undefined || model === undefined || isSame(model, releaseModel);
    }
    case 'version': {
      if (deployment !== undefined) return false;
      if (prediction.version !== undefined && prediction.version !== 'hidden') return prediction.version === target.id;
      return target.model === undefined || model === undefined || isSame(model, target.model);
    }
  }
}

const isSame = (a: string | undefined, b: string | undefined): boolean => a?.toLowerCase() === b?.toLowerCase();
