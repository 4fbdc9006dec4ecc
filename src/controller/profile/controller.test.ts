import type { V1Node } from '@kubernetes/client-node';
import { describe, expect, test } from 'vitest';
import type { DoctorLine, RuntimeProfileStatus } from '../../crds/runtime-profile.ts';
import type { Wire } from '../../kube/resource.ts';
import { at, ms } from '../../runtime/local/testing/clock.ts';
import { makeCaches } from '../caches.ts';
import { aPaidProfile, aProfile, type ProfileBuilder } from '../testing/a-profile.ts';
import { ProfileController, type ProfileControllerOptions } from './controller.ts';
import type { VendorFindings } from './vendor-doctor.ts';

function setUp(classLevel: () => DoctorLine['level'] = () => 'ok') {
  const caches = makeCaches('6f1f6d6e-6f3b-5f0e-9d2b-0c7c3f1f2f57', (error) => {
    throw error;
  });
  let version = 10;
  const written: RuntimeProfileStatus[] = [];
  const added: string[] = [];
  const verdicts: string[] = [];
  const vendor = {
    found: [] as DoctorLine[],
    config: [] as VendorFindings['config'],
    degraded: { degraded: false, reason: 'CallsSucceed', message: '' } as ReturnType<
      ProfileControllerOptions['degraded']
    >,
    forgotten: [] as string[],
    meanwhile: () => {},
  };
  const controller = new ProfileController({
    caches,
    vendors: {
      isVendor: ({ runtime }) => runtime !== 'local',
      examine: async () => {
        vendor.meanwhile();
        return { lines: vendor.found, config: vendor.config };
      },
      forget: (name) => vendor.forgotten.push(name),
    },
    degraded: () => vendor.degraded,
    cluster: {
      applyProfileStatus: async ({ name }, status) => {
        written.push(status);
        const profile = shown.get(name)!;
        profile.status = status;
        put(profile);
      },
      findApprovalPolicy: () => Promise.resolve('ok'),
      findClass: async () => classLevel(),
    },
    queue: { add: (key) => added.push(key), addAfter: (key, delayMs) => added.push(`${key} in ${delayMs} ms`) },
    onVerdict: ({ name }) => verdicts.push(name),
    now: () => ms(0),
  });
  const shown = new Map<string, ReturnType<ProfileBuilder['build']>>();
  const put = (profile: ReturnType<ProfileBuilder['build']>) => {
    shown.set(profile.metadata!.name!, profile);
    caches.profiles.apply({
      type: 'MODIFIED',
      object: { ...profile, metadata: { ...profile.metadata, resourceVersion: String(++version) } },
    });
  };
  const join = (name: string, allocatable: Record<string, string>) => {
    const node: Wire<V1Node> = {
      metadata: { name, resourceVersion: String(++version) },
      status: { allocatable, conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: at(0) }] },
    };
    caches.nodes.apply({ type: 'ADDED', object: node });
  };
  const ready = (name: string) => controller.ready(caches.profiles.get(name)!);
  return { caches, controller, written, added, verdicts, put, join, ready, shown, vendor };
}

test('says what it found once, and writes nothing when it finds the same', async () => {
  const { controller, put, written, added } = setUp();
  put(aProfile().build());
  expect(added).toEqual(['cpu']);
  expect(await controller.reconcile('cpu')).toEqual({ afterMs: 60_000 });
  expect(written).toMatchObject([
    {
      observedGeneration: 1,
      conditions: expect.arrayContaining([expect.objectContaining({ type: 'Ready', status: 'True' })]) as unknown,
    },
  ]);
  await controller.reconcile('cpu');
  expect(written).toHaveLength(1);
  // Its own status came back through the watch: that is no reason to look again.
  expect(added).toEqual(['cpu']);
});

test('blocks runs before it has written anything', () => {
  const { put, ready } = setUp();
  put(aProfile().local({ image: 'Not An Image' }).build());
  expect(ready('cpu')).toMatchObject({ ready: false, message: expect.stringContaining('spec.local.image') as string });
});

test('a GPU that comes lifts the block, and the waiting runs are told', async () => {
  const { controller, put, join, ready, verdicts, added } = setUp();
  put(
    aProfile()
      .local({ gpu: { count: 1, requirePresent: true } })
      .build(),
  );
  await controller.reconcile('cpu');
  expect(ready('cpu').ready).toBe(false);
  join('gpu-node', { 'nvidia.com/gpu': '4', cpu: '8' });
  expect(added.at(-1)).toBe('cpu in 2000 ms');
  await controller.reconcile('cpu');
  expect(ready('cpu').ready).toBe(true);
  expect(verdicts).toEqual(['cpu']);
});

test('a class that is missing blocks; one that may not be looked up does not', async () => {
  let level: DoctorLine['level'] = 'error';
  const { controller, put, ready, verdicts } = setUp(() => level);
  put(aProfile().local({ priorityClassName: 'high' }).build());
  await controller.reconcile('cpu');
  expect(ready('cpu')).toMatchObject({
    ready: false,
    message: expect.stringContaining('PriorityClass high') as string,
  });
  level = 'info';
  await controller.reconcile('cpu');
  expect(ready('cpu').ready).toBe(true);
  expect(verdicts).toEqual(['cpu', 'cpu']);
});

test('a profile deleted and made again under its name is judged anew', async () => {
  const { controller, caches, put, ready } = setUp();
  put(aProfile().local({ image: 'Not An Image' }).build());
  await controller.reconcile('cpu');
  expect(ready('cpu').ready).toBe(false);
  const gone = aProfile().build();
  caches.profiles.apply({
    type: 'DELETED',
    object: { ...gone, metadata: { ...gone.metadata, resourceVersion: '90' } },
  });
  expect(await controller.reconcile('cpu')).toBeUndefined();
  const again = aProfile().build();
  put({ ...again, metadata: { ...again.metadata, uid: 'another', resourceVersion: '91' } });
  expect(ready('cpu').ready).toBe(true);
});

test('what the sync says of the profile stands beside it, and is no reason to write', async () => {
  const { controller, put, written, shown } = setUp();
  put(aProfile().build());
  await controller.reconcile('cpu');
  const profile = shown.get('cpu')!;
  const verified = {
    type: 'ContractVerified',
    status: 'True',
    reason: 'ContractMatches',
    message: '',
    lastTransitionTime: at(0),
  } as const;
  put({ ...profile, status: { ...profile.status, conditions: [...profile.status!.conditions!, verified] } });
  await controller.reconcile('cpu');
  expect(written).toHaveLength(1);
});

test('several defaults are named in one order, however they came', async () => {
  const wordsOf = async (...names: string[]) => {
    const { controller, put, written } = setUp();
    for (const name of names) put(aProfile(name).asDefault().build());
    await controller.reconcile('a');
    return written[0]?.doctor?.find((line) => line.check === 'default-profile')?.message;
  };
  expect(await wordsOf('a', 'b', 'c')).toBe(await wordsOf('c', 'b', 'a'));
});

describe('a profile of a vendor', () => {
  const conditionsOf = (status: RuntimeProfileStatus | undefined) =>
    (status?.conditions ?? []).map(({ type, status: is, reason }) => `${type}=${is} (${reason})`);
  const away: DoctorLine = { check: 'vendor', level: 'error', message: 'replicate has not answered since noon' };
  const unpaid: DoctorLine = { check: 'cost-guards', level: 'error', message: 'must set spec.pricing' };

  test('waits for the first look, and is then what the vendor says', async () => {
    const { controller, put, ready, written, verdicts, vendor } = setUp();
    vendor.found = [{ check: 'replicate-account', level: 'ok', message: 'Accepted.' }];
    vendor.config = [{ name: 'TOKEN', present: true, required: true, secret: true, valid: true }];
    put(aPaidProfile().build());
    expect(ready('paid')).toEqual({ ready: false, configured: false, message: 'The doctor has not looked yet.' });
    await controller.reconcile('paid');
    expect(ready('paid').ready).toBe(true);
    expect(verdicts).toEqual(['paid']);
    expect(written).toMatchObject([{ doctor: vendor.found, config: vendor.config }]);
    expect(conditionsOf(written[0])).toEqual([
      'Ready=True (DoctorPassed)',
      'Configured=True (DoctorPassed)',
      'Healthy=True (DoctorPassed)',
      'Reconciling=False (DoctorPassed)',
      'Stalled=False (DoctorPassed)',
      'Degraded=False (CallsSucceed)',
    ]);
    await controller.reconcile('paid');
    expect(written).toHaveLength(1);
  });

  test.each([
    ['wrong: Configured is False', unpaid, false],
    ['right, and its vendor away: Configured stays True', away, true],
  ])('that is %s', async (_, line, configured) => {
    const { controller, put, ready, written, vendor } = setUp();
    vendor.found = [line];
    put(aPaidProfile().build());
    await controller.reconcile('paid');
    expect(ready('paid')).toEqual({ ready: false, configured, message: line.message });
    expect(conditionsOf(written[0])).toContain(`Configured=${configured ? 'True' : 'False'} (DoctorFailed)`);
    expect(conditionsOf(written[0])).toContain('Ready=False (DoctorFailed)');
  });

  test('that fails often of late says so, and stays Ready', async () => {
    const { controller, put, written, vendor } = setUp();
    put(aPaidProfile().build());
    await controller.reconcile('paid');
    vendor.degraded = { degraded: true, reason: 'CallsFail', message: '5 of the last 6 calls failed' };
    await controller.reconcile('paid');
    expect(written).toHaveLength(2);
    expect(conditionsOf(written[1])).toContain('Ready=True (DoctorPassed)');
    expect(conditionsOf(written[1])).toContain('Degraded=True (CallsFail)');
    vendor.degraded = { degraded: false, reason: 'CallsSucceed', message: '' };
    await controller.reconcile('paid');
    expect(conditionsOf(written[2])).toContain('Degraded=False (CallsSucceed)');
  });

  test('is believed by the next leader as the one before left it, as long as it is the same', async () => {
    const { controller, put, written, shown, vendor } = setUp();
    vendor.found = [{ check: 'replicate-account', level: 'ok', message: 'Accepted.' }];
    put(aPaidProfile().build());
    await controller.reconcile('paid');
    expect(written).toHaveLength(1);
    const next = setUp();
    next.put(shown.get('paid')!);
    expect(next.ready('paid').ready).toBe(true);
    next.put({ ...aPaidProfile().asking({ supportLevel: 'Experimental' }).build(), status: written[0]! });
    expect(next.ready('paid').ready).toBe(false);
  });

  test('that became another one while its vendor was asked is not judged by the old answer', async () => {
    const { controller, put, written, vendor, added } = setUp();
    vendor.found = [unpaid];
    put(aPaidProfile().build());
    vendor.meanwhile = () => {
      vendor.meanwhile = () => {};
      const changed = aPaidProfile().build();
      put({ ...changed, metadata: { ...changed.metadata, generation: 2 } });
    };
    await controller.reconcile('paid');
    expect(written).toEqual([]);
    expect(added.at(-1)).toBe('paid');
    expect(vendor.forgotten).toContain('paid');
  });
});
