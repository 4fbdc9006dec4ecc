import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { BUILD_TIMEOUT_MS, goTool } from '../../../scripts/tools/go-tool.ts';
import { conditionsOf, type Situation } from '../../../src/controller/run/situation.ts';
import { INITIAL_STATUS } from '../../../src/crds/world-run-status.ts';
import { run } from '../../cluster/process.ts';
import { kstatusProgram } from './kstatus.ts';
import { GITOPS } from './layers.ts';

/** What Argo CD (our health checks, in its Lua) and Flux (its own kstatus) make of the conditions that the operator writes. */

let glua: string;
let kstatus: string;
let checks: Record<string, string>;

beforeAll(async () => {
  [glua, kstatus] = await Promise.all([goTool('glua'), kstatusProgram()]);
  const { data } = parse(await readFile(join(GITOPS, 'argocd', 'argocd-cm.yaml'), 'utf8')) as {
    data: Record<string, string>;
  };
  checks = data;
}, BUILD_TIMEOUT_MS);

/** A value as Lua writes it. */
function lua(value: unknown): string {
  if (Array.isArray(value)) return `{${value.map(lua).join(', ')}}`;
  if (typeof value !== 'object' || value === null) return value === null ? 'nil' : JSON.stringify(value);
  const fields = Object.entries(value).filter(([, of]) => of !== undefined);
  return `{${fields.map(([name, of]) => `[${JSON.stringify(name)}] = ${lua(of)}`).join(', ')}}`;
}

/** `Healthy: message`. */
async function health(kind: string, object: object): Promise<string> {
  const check = checks[`resource.customizations.health.${kind}`]!;
  const script = `local function check(obj)\n${check}\nend\nlocal h = check(${lua(object)})\nprint(h.status .. ": " .. h.message)`;
  return (await run([glua, '-e', script])).trim();
}

/** `Current`, `InProgress` or `Failed`. */
async function waitedFor(kind: string, status: object): Promise<string> {
  const object = { apiVersion: 'worldflux.ai/v1alpha1', kind, metadata: { name: 'x', generation: 1 }, status };
  return (await run([kstatus], { input: JSON.stringify(object) })).trim();
}

type End = Extract<Situation, { is: 'finished' }>;
const finished = (status: End['status'], reason: End['reason']): Situation => ({
  is: 'finished',
  status,
  reason,
  message: 'its words',
  results: undefined,
});

describe('a WorldRun', () => {
  test.each<[string, Situation, string, string]>([
    [
      'waits',
      { is: 'waiting', reason: 'ConcurrencyLimit', message: 'two run', admitted: false },
      'Progressing',
      'InProgress',
    ],
    ['is suspended', { is: 'waiting', reason: 'Suspended', message: '', admitted: false }, 'Suspended', 'InProgress'],
    [
      'awaits an approval',
      { is: 'waiting', reason: 'AwaitingApproval', message: 'ask', admitted: false },
      'Suspended',
      'InProgress',
    ],
    ['runs', { is: 'running', message: '' }, 'Progressing', 'InProgress'],
    ['is collected', { is: 'collecting', message: '' }, 'Progressing', 'InProgress'],
    ['was refused', { is: 'refused', reason: 'OverrideNotAllowed', message: 'no' }, 'Degraded', 'Failed'],
    ['succeeded', finished('succeeded', 'Completed'), 'Healthy', 'Current'],
    ['failed', finished('failed', 'NonZeroExit'), 'Degraded', 'Failed'],
    ['was cancelled', finished('cancelled', 'Cancelled'), 'Healthy', 'Current'],
  ])('that %s', async (_, situation, expected, flux) => {
    const conditions = conditionsOf(situation);
    const { reason, message } = conditions.find(({ type }) => type === 'Ready')!;
    const words = message === '' ? reason : `${reason}: ${message}`;
    expect(await health('worldflux.ai_WorldRun', { status: { conditions } })).toBe(`${expected}: ${words}`);
    expect(await waitedFor('WorldRun', { observedGeneration: 1, conditions })).toBe(flux);
  });

  test('that was just created is not healthy yet', async () => {
    expect(await health('worldflux.ai_WorldRun', { status: INITIAL_STATUS })).toMatch(/^Progressing: Pending/);
    expect(await waitedFor('WorldRun', INITIAL_STATUS)).toBe('InProgress');
    expect(await health('worldflux.ai_WorldRun', { spec: {} })).toMatch(/^Progressing/);
  });
});

describe('a RuntimeProfile', () => {
  const ready = (status: string): object => ({ type: 'Ready', status, message: 'in words' });
  test.each([
    ['nobody has looked at', [], 'Progressing: The operator has not looked at it yet'],
    ['is ready', [ready('True')], 'Healthy: in words'],
    ['has an error', [ready('False')], 'Degraded: in words'],
    [
      'is ready, with a vendor that fails',
      [ready('True'), { type: 'Degraded', status: 'True', message: '3 failures' }],
      'Degraded: 3 failures',
    ],
  ])('that %s', async (_, conditions, expected) => {
    expect(await health('worldflux.ai_RuntimeProfile', { status: { conditions } })).toBe(expected);
  });
});

test('an Application is as healthy as it says, so that waves wait', async () => {
  const of = (status: object): Promise<string> => health('argoproj.io_Application', { status });
  expect(await of({ health: { status: 'Degraded', message: 'x' } })).toBe('Degraded: x');
  expect(await of({})).toBe('Progressing:');
});
