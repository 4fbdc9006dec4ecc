import { expect, test } from 'vitest';
import { trackedByGitOps } from './tracked.ts';

const INSTANCE = { 'app.kubernetes.io/instance': 'runs' };

test.each([
  ['Argo CD by annotation', { annotations: { 'argocd.argoproj.io/tracking-id': 'runs:worldflux.ai/WorldRun:a/b' } }],
  ['Argo CD by label', { labels: INSTANCE }],
  ['a chart that Argo CD rendered', { labels: { ...INSTANCE, 'app.kubernetes.io/managed-by': 'Helm' } }],
  ['Flux, from a folder', { labels: { 'kustomize.toolkit.fluxcd.io/name': 'runs' } }],
  [
    'Flux, from a chart',
    {
      labels: { ...INSTANCE, 'helm.toolkit.fluxcd.io/name': 'runs' },
      annotations: { 'meta.helm.sh/release-name': 'runs' },
    },
  ],
])('tracked: %s', (_, meta) => {
  expect(trackedByGitOps(meta)).toBe(true);
});

test.each([
  ['kubectl', {}],
  ['kubectl, with labels of one’s own', { labels: { team: 'a' }, annotations: { note: 'x' } }],
  ['helm', { labels: INSTANCE, annotations: { 'meta.helm.sh/release-name': 'runs' } }],
])('not tracked: %s', (_, meta) => {
  expect(trackedByGitOps(meta)).toBe(false);
});
