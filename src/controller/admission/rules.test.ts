import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RefusedReason } from '../../crds/vocabulary.ts';
import type { RuntimeTraits } from '../../runtime/contract.ts';
import { aPaidProfile, aProfile, type ProfileBuilder } from '../testing/a-profile.ts';
import { aRun, type RunBuilder } from '../testing/a-run.ts';
import { isRefusedImage } from './image.ts';
import { refusalOf } from './rules.ts';

const DIGEST = `sha256:${'c'.repeat(64)}`;

function refusal(run: RunBuilder, profile: ProfileBuilder, labels: Record<string, string> = {}) {
  const namespace = { uid: 'namespace-1', name: 'team', labels, terminating: false };
  return refusalOf({
    run: run.live().spec,
    profile: profile.spec(),
    profileName: 'cpu',
    namespace,
    traits: undefined,
  });
}

const gpu = aProfile().local({ gpu: { count: 1, memoryGiB: 24 } });
const sized = aProfile()
  .local({ resources: { requests: { memory: '1Gi' }, limits: { memory: '4Gi' } } })
  .allowing({ resources: { max: { memory: '16Gi' } } });
const run = aRun();

const refused: [string, RunBuilder, ProfileBuilder, RefusedReason, RegExp][] = [
  ['no image anywhere', run, aProfile().local({ image: undefined }), 'ImageMissing', /spec\.image/],
  [
    'an image of its own',
    run.asking({ image: 'x' }),
    aProfile(),
    'OverrideNotAllowed',
    /spec\.image.*leave the field out/,
  ],
  [
    'an image outside the patterns',
    run.asking({ image: 'evil/x' }),
    aProfile().allowing({ image: { allowed: ['ghcr.io/acme/*'] } }),
    'OverrideNotAllowed',
    /spec\.image: evil\/x.*ghcr\.io\/acme\/\*/,
  ],
  [
    'an image without digest',
    run.asking({ image: 'a/x:1' }),
    aProfile().allowing({ image: { allowed: ['a/*'], requireDigest: true } }),
    'OverrideNotAllowed',
    /a\/x:1@sha256:/,
  ],
  [
    'a GPU where there is none',
    run.asking({ resources: { gpu: 1 } }),
    aProfile(),
    'OverrideNotAllowed',
    /spec\.resources\.gpu.*no GPUs/,
  ],
  [
    'more GPUs, where no number may be named',
    run.asking({ resources: { gpu: 2 } }),
    gpu,
    'OverrideNotAllowed',
    /spec\.resources\.gpu.*gives 1/,
  ],
  [
    'more GPUs than allowed',
    run.asking({ resources: { gpu: 9 } }),
    gpu.allowing({ gpu: { max: 8 } }),
    'OverrideNotAllowed',
    /spec\.resources\.gpu: 9.*8/,
  ],
  ['more nodes than one', run.onNodes(2), aProfile(), 'OverrideNotAllowed', /spec\.nodes: 2.*1/],
  [
    'more nodes than allowed',
    run.onNodes(5),
    aProfile().allowing({ nodes: { max: 4 } }),
    'OverrideNotAllowed',
    /spec\.nodes: 5.*4/,
  ],
  [
    'a request it may not set',
    run.asking({ resources: { requests: { cpu: '1' } } }),
    aProfile(),
    'OverrideNotAllowed',
    /spec\.resources\.requests\.cpu/,
  ],
  [
    'a limit above the bound',
    run.asking({ resources: { limits: { memory: '3Gi' } } }),
    aProfile().allowing({ resources: { max: { memory: '2048Mi' } } }),
    'OverrideNotAllowed',
    /spec\.resources\.limits\.memory: 3Gi.*2048Mi/,
  ],
  [
    'a request above its own limit',
    run.asking({ resources: { requests: { memory: '1Gi' }, limits: { memory: '512Mi' } } }),
    sized,
    'OverrideNotAllowed',
    /spec\.resources\.requests\.memory: 1Gi is more than spec\.resources\.limits\.memory, 512Mi/,
  ],
  [
    'a request above the limit of its profile',
    run.asking({ resources: { requests: { memory: '5Gi' } } }),
    sized,
    'OverrideNotAllowed',
    /5Gi is more than the limit of 4Gi in profile cpu; set spec\.resources\.limits\.memory too/,
  ],
  [
    'a limit below the request of its profile',
    run.asking({ resources: { limits: { memory: '256Mi' } } }),
    sized,
    'OverrideNotAllowed',
    /256Mi is less than the 1Gi that profile cpu requests; set spec\.resources\.requests\.memory too/,
  ],
  [
    'a node label it may not select by',
    run.asking({ nodeSelector: { zone: 'a' } }),
    aProfile(),
    'OverrideNotAllowed',
    /spec\.nodeSelector.*zone/,
  ],
  [
    'a queue',
    run.asking({ queueName: 'fast' }),
    aProfile().local({ queueName: 'slow' }),
    'OverrideNotAllowed',
    /spec\.queueName/,
  ],
  [
    'a volume of a kind that is not allowed',
    run.asking({ volumes: [{ name: 'd', mountPath: '/d', secret: { secretName: 's' } }] }),
    aProfile().allowing({ volumes: ['configMap'] }),
    'OverrideNotAllowed',
    /spec\.volumes\[d\].*secret/,
  ],
  [
    'a source from elsewhere',
    run.asking({ source: { git: { url: 'https://evil.example/x' } } }),
    aProfile().allowing({ gitHosts: ['github.com'] }),
    'OverrideNotAllowed',
    /spec\.source\.git\.url.*evil\.example/,
  ],
  [
    'a variable outside the list',
    run.asking({ forwardProviderEnv: ['HF_TOKEN', 'AWS'] }),
    aProfile().asking({ providerEnv: [{ name: 'HF_TOKEN', secretKeyRef: { name: 's', key: 'k' } }] }),
    'EnvNotAllowed',
    /spec\.forwardProviderEnv: AWS.*HF_TOKEN/,
  ],
  [
    'a variable where none is listed',
    run.asking({ forwardProviderEnv: ['AWS'] }),
    aProfile(),
    'EnvNotAllowed',
    /allowed: none/,
  ],
  [
    'an adapter off the list',
    run.asking({ adapter: { id: 'x' } }),
    aProfile().asking({ adapters: [{ id: 'y' }] }),
    'AdapterUnknown',
    /spec\.adapter\.id: x/,
  ],
  [
    'an adapter that needs a larger GPU',
    run.asking({ adapter: { id: 'y' } }),
    gpu.asking({ adapters: [{ id: 'y', vramFloorGiB: 80 }] }),
    'VRAMFloorNotMet',
    /80 GiB.*24 GiB/,
  ],
  [
    'an adapter that needs a GPU, on none',
    run.asking({ adapter: { id: 'y' }, resources: { gpu: 0 } }),
    gpu.allowing({ gpu: { max: 1 } }).asking({ adapters: [{ id: 'y', vramFloorGiB: 8 }] }),
    'VRAMFloorNotMet',
    /8 GiB/,
  ],
  [
    'more time than allowed',
    run.within({ runSeconds: 61 }),
    aProfile().limited({ maxRunSeconds: 60 }),
    'RunSecondsExceeded',
    /spec\.timeouts\.runSeconds: 61.*60/,
  ],
  [
    'more time to upload than allowed',
    run.within({ uploadSeconds: 61 }),
    aProfile().limited({ maxUploadSeconds: 60 }),
    'RunSecondsExceeded',
    /spec\.timeouts\.uploadSeconds: 61.*60/,
  ],
  ['a cost limit without a price', run, aProfile().limited({ maxCostUSDPerRun: '1' }), 'PriceMissing', /spec\.pricing/],
  [
    'more than it may cost',
    run.within({ startupSeconds: 1800, runSeconds: 5400 }),
    aProfile().asking({ limits: { maxCostUSDPerRun: '1' }, pricing: { usdPerNodeHour: '2' } }),
    'CostLimitExceeded',
    /\$4\.0000.*\$1 \(limits\.maxCostUSDPerRun\).*spec\.timeouts/,
  ],
  [
    'more than a namespace may ever spend in a day',
    run.within({ startupSeconds: 1800, runSeconds: 5400 }),
    aProfile().asking({ limits: { maxCostUSDPerNamespacePerDay: '1' }, pricing: { usdPerNodeHour: '2' } }),
    'CostLimitExceeded',
    /\$1 \(limits\.maxCostUSDPerNamespacePerDay\)/,
  ],
  [
    'a price per second, where only nodes are held',
    run,
    aProfile().asking({ limits: { maxCostUSDPerRun: '1' }, pricing: { usdPerSecond: '1' } }),
    'PriceMissing',
    /spec\.pricing/,
  ],
  [
    'a request to a provider, where there is none',
    run.asking({ request: { prompt: 'a cube' } }),
    aProfile(),
    'FieldNotSupported',
    /spec\.request.*spec\.command/,
  ],
  [
    'an experimental profile that it does not accept',
    run,
    aProfile().asking({ supportLevel: 'Experimental' }),
    'ExperimentalNotAcknowledged',
    /spec\.acknowledgeExperimental.*true/,
  ],
];

test.each(refused)('refused: %s', (_, asked, profile, reason, message) => {
  expect(refusal(asked, profile)).toEqual({ reason, message: expect.stringMatching(message) });
});

const granted: [string, RunBuilder, ProfileBuilder][] = [
  ['the shortest run', run, aProfile()],
  ['the profile’s own image, named again', run.asking({ image: aProfile().spec().local!.image }), aProfile()],
  [
    'an image by pattern and digest',
    run.asking({ image: `a/x@${DIGEST}` }),
    aProfile().allowing({ image: { allowed: ['a/*'], requireDigest: true } }),
  ],
  ['the profile’s own number of GPUs', run.asking({ resources: { gpu: 1 } }), gpu],
  ['no GPU where the profile has none', run.asking({ resources: { gpu: 0 } }), aProfile()],
  [
    'a limit at its bound, spelled otherwise',
    run.asking({ resources: { limits: { memory: '2Gi' } } }),
    aProfile().allowing({ resources: { max: { memory: '2048Mi' } } }),
  ],
  [
    'a request and a limit of its own',
    run.asking({ resources: { requests: { memory: '8Gi' }, limits: { memory: '8192Mi' } } }),
    sized,
  ],
  ['the profile’s own queue', run.asking({ queueName: 'slow' }), aProfile().local({ queueName: 'slow' })],
  ['its own queue', run.asking({ queueName: 'fast' }), aProfile().allowing({ queueName: true })],
  ['an adapter without a list', run.asking({ adapter: { id: 'x' } }), aProfile()],
  [
    'an experimental profile that it accepts',
    run.asking({ acknowledgeExperimental: true }),
    aProfile().asking({ supportLevel: 'Experimental' }),
  ],
  ['time at its bound', run.within({ runSeconds: 60 }), aProfile().limited({ maxRunSeconds: 60 })],
  [
    'a source from an allowed host',
    run.asking({ source: { git: { url: 'https://github.com/a/b' } } }),
    aProfile().allowing({ gitHosts: ['github.com'] }),
  ],
];

test.each(granted)('granted: %s', (_, asked, profile) => {
  expect(refusal(asked, profile)).toBeUndefined();
});

describe('a runtime that costs money at somebody else’s', () => {
  const traits: RuntimeTraits = {
    kind: 'Vendor',
    paid: true,
    support: 'ProductionDisabled',
    idempotentCreate: false,
    marksWork: false,
    listLagMs: 0,
    pollMs: 1000,
    capabilities: ['generate'],
    credentials: [],
    hosts: [],
  };
  const of = (asked: RunBuilder, profile: ProfileBuilder, more: Partial<RuntimeTraits> = {}) =>
    refusalOf({
      run: asked.live().spec,
      profile: profile.spec(),
      profileName: 'paid',
      namespace: { uid: 'n', name: 'team', labels: {}, terminating: false },
      traits: { ...traits, ...more },
    });
  const backed = (level: string) =>
    aPaidProfile().asking({ adapters: [{ id: 'wm', support: { level } }, { id: 'other' }] });
  const wm = run.asking({ adapter: { id: 'wm' } });
  const accepting = run.asking({ acknowledgeExperimental: true });
  const paid = aPaidProfile().asking({ supportLevel: 'Production' });
  const { limits } = paid.spec();

  test.each<[string, RunBuilder, ProfileBuilder, Partial<RuntimeTraits>, RefusedReason | undefined]>([
    ['it is not for production, and nobody says otherwise', run, aPaidProfile(), {}, 'ProductionDisabled'],
    ['accepting experiments is no vouching', accepting, aPaidProfile(), {}, 'ProductionDisabled'],
    ['the profile’s own word lifts the ban', run, paid, {}, undefined],
    [
      'the profile may lift it as far as experiments',
      run,
      aPaidProfile().asking({ supportLevel: 'Experimental' }),
      {},
      'ExperimentalNotAcknowledged',
    ],
    ['… which the run accepts', accepting, aPaidProfile().asking({ supportLevel: 'Experimental' }), {}, undefined],
    ['an adapter that is vouched for lifts it', wm, backed('ProductionBacked'), {}, undefined],
    [
      '… for itself alone',
      run.asking({ adapter: { id: 'other' } }),
      backed('ProductionBacked'),
      {},
      'ProductionDisabled',
    ],
    ['… and not for runs that name none', run, backed('ProductionBacked'), {}, 'ProductionDisabled'],
    ['an experimental adapter lifts no ban', wm, backed('Experimental'), {}, 'ProductionDisabled'],
    [
      'an experimental adapter makes a run of a good runtime an experiment',
      wm,
      backed('Experimental'),
      { support: 'Production' },
      'ExperimentalNotAcknowledged',
    ],
    ['an experimental runtime', run, aPaidProfile(), { support: 'Experimental' }, 'ExperimentalNotAcknowledged'],
    ['no price', run, paid.asking({ pricing: undefined }), {}, 'PriceMissing'],
    ['a price for Jobs', run, paid.asking({ pricing: { usdPerGPUHour: '1' } }), {}, 'PriceMissing'],
    ['no cost limit', run, paid.limited({ ...limits, maxCostUSDPerRun: undefined }), {}, 'CostLimitMissing'],
    ['no time limit', run, paid.limited({ ...limits, maxRunSeconds: undefined }), {}, 'CostLimitMissing'],
    ['no limit of runs', run, paid.limited({ ...limits, maxConcurrentRuns: undefined }), {}, 'CostLimitMissing'],
    [
      'none of it where nothing is paid',
      run,
      paid.asking({ pricing: undefined, limits: {} }),
      { paid: false },
      undefined,
    ],
    [
      'a capability that it does not have',
      run.asking({ request: { capability: 'policy' } }),
      paid,
      {},
      'CapabilityNotSupported',
    ],
    ['one that it has', run.asking({ request: { capability: 'generate' } }), paid, {}, undefined],
    [
      'requests that are bought again',
      run.retrying(100),
      paid.limited({ ...limits, maxCostUSDPerRun: '20' }),
      {},
      'CostLimitExceeded',
    ],
    ['… and that fit', run.retrying(3), paid.limited({ ...limits, maxCostUSDPerRun: '20' }), {}, undefined],
  ])('%s', (_, asked, profile, more, reason) => {
    expect(of(asked, profile, more)?.reason).toBe(reason);
  });

  test('the words name the field that would be right', () => {
    expect(of(run, paid.asking({ limits: {} }))?.message).toBe(
      'profile paid costs money and has no limits.maxCostUSDPerRun: the platform team must set spec.limits.maxCostUSDPerRun',
    );
    expect(of(run.asking({ request: { capability: 'score' } }), paid)?.message).toMatch(
      /cannot score; it can generate/,
    );
  });
});

describe('namespaces are chosen by label, as Kubernetes does it', () => {
  const labels = { team: 'robotics', tier: '1' };
  const cases: [string, object, boolean][] = [
    ['a label that matches', { matchLabels: { team: 'robotics' } }, true],
    ['a label with another value', { matchLabels: { team: 'vision' } }, false],
    ['In', { matchExpressions: [{ key: 'tier', operator: 'In', values: ['1', '2'] }] }, true],
    ['In, without the label', { matchExpressions: [{ key: 'x', operator: 'In', values: ['1'] }] }, false],
    ['NotIn', { matchExpressions: [{ key: 'tier', operator: 'NotIn', values: ['1'] }] }, false],
    ['NotIn, without the label', { matchExpressions: [{ key: 'x', operator: 'NotIn', values: ['1'] }] }, true],
    ['Exists', { matchExpressions: [{ key: 'tier', operator: 'Exists' }] }, true],
    ['DoesNotExist', { matchExpressions: [{ key: 'tier', operator: 'DoesNotExist' }] }, false],
    ['all of them', { matchLabels: { team: 'robotics' }, matchExpressions: [{ key: 'x', operator: 'Exists' }] }, false],
    ['an empty selector', {}, true],
  ];
  test.each(cases)('%s', (_, allowedNamespaces, isAllowed) => {
    const answer = refusal(run, aProfile().asking({ allowedNamespaces }), labels);
    expect(answer?.reason).toBe(isAllowed ? undefined : 'NamespaceNotAllowed');
    expect(answer?.message ?? 'cpu team spec.allowedNamespaces').toMatch(/cpu.*team.*spec\.allowedNamespaces/);
  });
});

test('image patterns mean what a regular expression with .* would mean, without its cost', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b', '/'), maxLength: 12 });
  const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '/', '*'), minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(text, pattern, (image, allowed) => {
      const isAllowed = new RegExp(`^${allowed.replaceAll('*', '.*')}$`).test(image);
      expect(isRefusedImage(image, { allowed: [allowed], requireDigest: false }, 'p') === undefined).toBe(isAllowed);
    }),
    { numRuns: 2000 },
  );
});
