import { describe, expect, test } from 'vitest';
import { prediction } from './answers.ts';
import { mayBeOf, type Target } from './target.ts';

const ID = 'a'.repeat(64);
const made = (what: Record<string, string>) =>
  prediction.parse({ id: 'abc', status: 'succeeded', created_at: '2026-11-20T10:00:00Z', ...what });
const model: Target = { kind: 'model', name: 'acme/dreamer' };
const bare: Target = { kind: 'version', id: ID, model: undefined };
const full: Target = { kind: 'version', id: ID, model: 'acme/dreamer' };
const deployment: Target = { kind: 'deployment', name: 'acme/prod' };
const RELEASE = 'acme/dreamer';

describe('a prediction may have been made with', () => {
  test.each<[string, Target, Record<string, string>]>([
    ['the model that it names', model, { model: 'Acme/Dreamer', version: 'hidden' }],
    ['a model, when it names none', model, {}],
    ['the version that it names', bare, { model: 'other/x', version: ID }],
    ['a version, when its own is hidden', bare, { model: 'other/x', version: 'hidden' }],
    ['the version of its model, when its own is hidden', full, { model: 'acme/dreamer', version: 'hidden' }],
    ['the deployment that it names', deployment, { deployment: 'acme/Prod', model: 'other/x' }],
    ['the deployment that it names without its owner', deployment, { deployment: 'prod' }],
    ['a deployment of its model, when it names none', deployment, { model: 'acme/dreamer' }],
  ])('%s', (_, target, what) => {
    expect(mayBeOf(target, made(what), RELEASE)).toBe(true);
  });

  test('a deployment whose release nobody knows', () => {
    expect(mayBeOf(deployment, made({ model: 'other/x' }), undefined)).toBe(true);
  });
});

describe('a prediction was not made with', () => {
  test.each<[string, Target, Record<string, string>]>([
    ['another model', model, { model: 'acme/other' }],
    ['a model, when a deployment made it', model, { model: 'acme/dreamer', deployment: 'acme/prod' }],
    ['another version', full, { model: 'acme/dreamer', version: 'b'.repeat(64) }],
    ['a version, when a deployment made it', full, { version: ID, deployment: 'acme/prod' }],
    ['a version of another model', full, { model: 'other/x', version: 'hidden' }],
    ['another deployment', deployment, { deployment: 'acme/staging', model: 'acme/dreamer' }],
    ['a deployment of somebody else', deployment, { deployment: 'other/prod' }],
    ['a deployment of another model', deployment, { model: 'other/x' }],
  ])('%s', (_, target, what) => {
    expect(mayBeOf(target, made(what), RELEASE)).toBe(false);
  });
});
