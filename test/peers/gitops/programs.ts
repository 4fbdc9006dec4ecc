import { join } from 'node:path';
import { goPrograms } from '../go-programs.ts';

/** Where their kinds are read from: the versions of go.mod. */
export const MODULES = {
  'source-controller': 'github.com/fluxcd/source-controller@v1.9.3',
  'kustomize-controller': 'github.com/fluxcd/kustomize-controller@v1.9.3',
  'argo-cd': 'github.com/argoproj/argo-cd/v3@v3.5.3',
} as const;

/** Both from one module: most of what they are made of is the same, and Go compiles it once. */
export const kustomizeController = async (): Promise<string> =>
  join(
    await goPrograms('flux', import.meta.dirname, ['github.com/fluxcd/kustomize-controller']),
    'kustomize-controller',
  );

/** One program for all parts of Argo CD, by their names. */
export const argoCD = async (): Promise<string> =>
  join(await goPrograms('argocd', import.meta.dirname, ['.']), 'gitops');
