import { describe, expect, test } from 'vitest';
import type { Condition } from '../../crds/common.ts';
import type { Capability } from '../../crds/vocabulary.ts';
import type { RuntimeProfile } from '../resources.ts';
import { runtimeFacts, runtimeLines, upstreamLines, wantedSecrets } from './doctor-runtimes.ts';

const condition = (type: string, status: 'True' | 'False' | 'Unknown', reason: string, message = ''): Condition => ({
  type,
  status,
  reason,
  message,
  lastTransitionTime: '2026-11-20T10:15:00Z',
});
const READY = condition('Ready', 'True', 'DoctorPassed');
const BROKEN = condition('Ready', 'False', 'DoctorFailed');

const profile = (name: string, spec: object, ...conditions: Condition[]): RuntimeProfile =>
  ({ metadata: { name }, spec: { runtime: 'local', ...spec }, status: { conditions } }) as unknown as RuntimeProfile;

const cpu = profile('cpu', {}, READY);
const video = profile('video', { runtime: 'replicate' }, READY);

const linesOf = (profiles: RuntimeProfile[], capability?: Capability, registeredOnly = false) =>
  runtimeLines(runtimeFacts(profiles, { capability, registeredOnly }), capability).map(
    ({ check, level, message }) => `${check} ${level}: ${message}`,
  );

describe('runtimes', () => {
  test('are listed with their profiles, and those without one are named too', () => {
    expect(linesOf([cpu, video])).toEqual([
      'runtime ok: local: cpu ready; can do: whatever its images do',
      'runtime ok: replicate: video ready; can do: generate, predict, reason, embed, transfer',
      'runtime info: mock: no profile names it; can do: predict, generate, reason, embed, transfer',
      'runtime info: genie: no profile names it; can do: nothing yet',
    ]);
  });

  test('that no profile names are left out where only registered ones are asked for', () => {
    expect(linesOf([video], undefined, true)).toEqual([
      'runtime ok: replicate: video ready; can do: generate, predict, reason, embed, transfer',
    ]);
  });

  test('say which profile is not ready or degraded, and where it says why', () => {
    const degraded = profile('fast', { runtime: 'replicate' }, READY, condition('Degraded', 'True', 'CallsFail'));
    const broken = profile('old', { runtime: 'replicate' }, BROKEN);
    expect(linesOf([degraded, broken], undefined, true)).toEqual([
      'runtime info: replicate: fast degraded, old DoctorFailed; can do: generate, predict, reason, embed, transfer; kubectl worldflux runtime doctor says why',
    ]);
  });
});

describe('a capability', () => {
  test('is there where a profile of a runtime that can do it is ready', () => {
    expect(linesOf([cpu, video], 'generate', true).at(-1)).toBe('capability ok: generate: cpu, video');
  });

  test('is not there where that profile is not ready', () => {
    expect(linesOf([profile('video', { runtime: 'replicate' }, BROKEN)], 'generate', true).at(-1)).toBe(
      'capability error: no profile that is ready can generate: kubectl worldflux runtime list',
    );
  });

  test('leaves out runtimes that cannot do it', () => {
    expect(linesOf([cpu, video], 'policy').join('\n')).not.toContain('replicate');
  });
});

const syncing = (from: 'RunNamespace' | 'OperatorNamespace', ...conditions: Condition[]) =>
  profile(
    'gpu',
    {
      sync: {
        mode: 'OnCompletion',
        baseURL: 'https://worldflux.example',
        apiKeySecretRef: { name: 'worldflux', from },
      },
    },
    ...conditions,
  );

test.each([
  [
    'accepted',
    [
      condition('ContractVerified', 'True', 'ContractMatches', 'Everything was found.'),
      condition('SyncKeyValid', 'True', 'KeysAccepted'),
    ],
    'ok',
    'accepted',
  ],
  [
    'a contract that nobody serves',
    [
      condition('ContractVerified', 'Unknown', 'ContractNotServed', 'It serves no description.'),
      condition('SyncKeyValid', 'True', 'KeysAccepted'),
    ],
    'info',
    'It serves no description.',
  ],
  [
    'a key that was refused',
    [
      condition('ContractVerified', 'True', 'ContractMatches'),
      condition('SyncKeyValid', 'False', 'KeyNotAccepted', 'Another key is needed.'),
    ],
    'error',
    'Another key is needed.',
  ],
  ['a target that was not asked yet', [], 'info', 'the operator has not reported on it yet'],
])('the session with WorldFlux: %s', (_, conditions, level, words) => {
  expect(upstreamLines([cpu, syncing('RunNamespace', ...conditions)])).toEqual([
    { check: 'upstream', level, message: `gpu syncs to https://worldflux.example: ${words}` },
  ]);
});

test('Secrets that runs need in their own namespace, each once', () => {
  const env = [{ name: 'HF_TOKEN', secretKeyRef: { name: 'huggingface', key: 'token' } }];
  const profiles = [
    profile('a', { providerEnv: env }),
    profile('b', { providerEnv: env, local: { imagePullSecrets: [{ name: 'regcred' }] } }),
    syncing('RunNamespace'),
    syncing('OperatorNamespace'),
  ];
  expect(wantedSecrets(profiles)).toEqual([
    { name: 'huggingface', by: 'HF_TOKEN of profile a, HF_TOKEN of profile b' },
    { name: 'regcred', by: 'image pulls of profile b' },
    { name: 'worldflux', by: 'the sync of profile gpu' },
  ]);
});
