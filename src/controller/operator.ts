import { isIPv6 } from 'node:net';
import { hostname } from 'node:os';
import type { Logger } from 'pino';
import { KubeClient } from '../kube/client.ts';
import { loadClusterConfig } from '../kube/config.ts';
import { EventRecorder } from '../kube/events.ts';
import { isKubeError } from '../kube/errors.ts';
import { LeaderElector, NotLeaderError } from '../kube/lease.ts';
import { ObservedTransport } from '../kube/observed-transport.ts';
import { pause } from '../kube/pause.ts';
import { NAMESPACES } from '../kube/resource.ts';
import { HttpTransport } from '../kube/http-transport.ts';
import { WorkQueue } from '../kube/work-queue.ts';
import type { OperatorOptions } from '../options.ts';
import { Gateway } from '../results/gateway/gateway.ts';
import type { ServingMaterial } from '../results/gateway/tls.ts';
import { ApiTokenReviewer } from '../results/gateway/token-review.ts';
import { ResultsHub } from '../results/hub.ts';
import { Usage } from '../results/usage.ts';
import { HealthServer } from '../telemetry/health.ts';
import { Metrics } from '../telemetry/metrics.ts';
import type { ProfileFacts } from '../telemetry/readiness.ts';
import { StoreProbe } from '../telemetry/store-probe.ts';
import { redact, secretsInUse } from '../telemetry/secrets-in-use.ts';
import { makeVendors } from '../runtime/vendors.ts';
import { VendorRuns } from './vendor-runs.ts';
import { VERSION } from '../version.ts';
import { SpendBook } from './admission/spend.ts';
import { Announcements } from './announcements.ts';
import { ProviderTelemetry } from './provider-telemetry.ts';
import { makeCaches, reflect } from './caches.ts';
import { storeAuthorities } from './extra-authorities.ts';
import { installationId } from './identity.ts';
import { ProfileController } from './profile/controller.ts';
import { VendorDoctor } from './profile/vendor-doctor.ts';
import { openStore, ResultsPort } from './results-port.ts';
import { ResultsReading, resultsApiHost } from './results-reading.ts';
import { Retention } from './retention.ts';
import { RunController } from './run/controller.ts';
import type { ProfileView } from './run/view.ts';
import { MeteredCluster, RunMetrics } from './run-metrics.ts';
import { servingCertificate } from './certificate/choose.ts';
import { Sync } from './sync/wiring.ts';

const LEASE = 'worldflux-operator';
const SERVICE = 'worldflux-operator-gateway';
/** A vendor may take most of a minute to say nothing: the other profiles are not to wait for it. */
const PROFILE_WORKERS = 8;
/** Part of the time that a failover takes. */
const USAGE_MS = 2_000;
const USAGE_AGAIN_MS = 30_000;

/**
 * Wires the operator together, leads when it may, and returns when `signal` aborts or leadership is lost. Caches and
 * gateway serve from the start: a standby takes over with everything in memory.
 */
export async function runOperator(
  options: OperatorOptions,
  log: Logger,
  signal: AbortSignal,
): Promise<'stopped' | 'lost'> {
  const config = loadClusterConfig({ file: options.kubeconfig, context: options.context });
  log.info({ cluster: config.origin, version: VERSION }, 'starting');
  const metrics = new Metrics();
  const apiServer = new URL(config.cluster.server).host;
  const client = new KubeClient(
    new ObservedTransport(new HttpTransport(config, { userAgent: `worldflux-operator/${VERSION}` }), (code, method) =>
      metrics.requested(code, method, apiServer),
    ),
  );
  const { namespace } = options;
  const warn = (what: string) => (error: unknown) => {
    if (!signal.aborted) log.warn({ err: error }, what);
  };

  const kubeSystem = await client.get(NAMESPACES, { name: 'kube-system' }, { signal });
  const id = options['installation-id'] ?? installationId(kubeSystem.metadata?.uid ?? '', namespace);

  const gatewayUrl = options['gateway-url'] ?? `https://${SERVICE}.${namespace}.svc:${options['gateway-port']}`;
  const gatewayHost = new URL(gatewayUrl).hostname;
  const certificate = await servingCertificate({
    directory: options['tls-dir'],
    client,
    namespace,
    hosts: [gatewayHost, resultsApiHost(namespace)],
    signal,
  });

  const store = await openStore(options, id);
  const storeCaPem = await storeAuthorities(options, process.env);
  const hub = new ResultsHub(store);
  const usage = new Usage(store);
  const caches = makeCaches(id, warn('a listener of a cache failed'));
  const reflectors = reflect(client, caches, namespace, (resource, error) => {
    metrics.watchBroke(resource);
    if (!isKubeError(error, 'gone')) log.warn({ resource, err: error }, 'a watch broke; it begins again');
  });
  const events = new EventRecorder({
    client,
    controller: 'worldflux.ai/operator',
    instance: hostname(),
    redact,
    onError: warn('an event was not written'),
  });
  const announcements = new Announcements(events, caches);

  // Leadership is asked at every effect; before the first term there is none.
  let elector: LeaderElector | undefined;
  const epoch = (): number => {
    if (elector === undefined) throw new NotLeaderError('not elected yet');
    return elector.assertLeader();
  };
  const runMetrics = new RunMetrics({ registry: metrics.registry, caches, now: Date.now });
  const cluster = new MeteredCluster(client, epoch, runMetrics, caches.runs);
  const results = new ResultsPort({
    store,
    hub,
    usage,
    client,
    logLimitBytes: options['log-limit-mib'] * 1024 * 1024,
    assertLeader: epoch,
    onRecorded: (record) => retention.onRecorded(record),
    onError: (message, err) => log.warn({ err }, message),
  });

  const telemetry = await ProviderTelemetry.open({
    log,
    metrics,
    store,
    caches,
    installation: id,
    otlpEndpoint: options['otlp-endpoint'],
  });
  /** What a profile stands on has changed: it is examined, and its waiting runs are looked at. */
  const lookAgainAt = (profile: string) => {
    profileQueue.add(profile);
    const view = caches.profiles.get(profile);
    if (view !== undefined) runs.onProfileVerdict(view);
  };
  const vendorRuns = new VendorRuns({
    runtimes: makeVendors(),
    caches,
    client,
    namespace,
    installationId: id,
    results,
    events: telemetry.events,
    secretsInUse,
    clusterRanges: options['cluster-ranges'],
    orphanAgeSeconds: options['orphan-age-seconds'],
    degraded: (profile) => telemetry.trouble(profile),
    onWork: (uid) => runs.onWork(uid),
    onSecret: lookAgainAt,
    onOrphan: (orphan) => {
      log.warn(orphan, 'work at a vendor that no run names');
      metrics.orphan(orphan.runtime, orphan.action);
      announcements.orphanFound(orphan);
    },
    onError: (what, err) => log.warn({ err }, what),
  });
  const failed = (controller: string) => (key: string, error: unknown) => {
    if (!(error instanceof NotLeaderError))
      log.warn({ controller, key, err: error }, 'a pass failed; it is tried again');
  };
  const runQueue: WorkQueue = new WorkQueue({
    handle: (key) => runs.reconcile(key).then((again) => again),
    concurrency: options.workers,
    observer: metrics.observerOf('worldrun', options.workers, failed('worldrun')),
  });
  const profileQueue: WorkQueue = new WorkQueue({
    handle: (key) => profiles.reconcile(key).then((again) => again),
    concurrency: PROFILE_WORKERS,
    observer: metrics.observerOf('runtimeprofile', PROFILE_WORKERS, failed('runtimeprofile')),
  });
  const profiles = new ProfileController({
    caches,
    cluster,
    vendors: new VendorDoctor({ registry: vendorRuns.registry, secrets: vendorRuns.secrets, now: Date.now }),
    degraded: (profile) => telemetry.health.degraded(profile),
    queue: profileQueue,
    onVerdict: (profile) => runs.onProfileVerdict(profile),
    now: Date.now,
  });
  const retention = new Retention({
    store,
    caches,
    cluster,
    installation: id,
    operatorNamespace: namespace,
    waitsForSync: (run) => sync.waitsFor(run),
    heldForSync: (clientRunId) => sync.holds(clientRunId),
    usage,
    onError: (what, err) => log.warn({ err }, what),
  });
  const runs = new RunController({
    caches,
    cluster,
    results,
    installation: {
      id,
      namespace,
      image: options.image,
      gatewayUrl,
      get caPem() {
        return certificate.caPem;
      },
      storeCaPem,
    },
    vendors: vendorRuns.vendors,
    epoch,
    queue: runQueue,
    profileReady: (profile) => profiles.ready(profile),
    spend: new SpendBook(store, Date.now, epoch),
    onError: (what, err) => log.warn({ err }, what),
    waitsForSync: (run) => sync.waitsFor(run),
    onRunDeleted: (run, clientRunId) => retention.onRunDeleted(run, clientRunId),
    onSettled: (run, settled) => announcements.runEnded(run, settled),
    now: Date.now,
  });
  const sync = new Sync({
    caches,
    client,
    assertLeader: epoch,
    store,
    registry: metrics.registry,
    events: telemetry.events,
    log,
    operatorNamespace: namespace,
    settings: options,
  });
  hub.onChange((key) => runs.onResult(key.clientRunId));
  telemetry.health.onChange(lookAgainAt);

  const gateway = new Gateway({
    port: options['gateway-port'],
    tls: certificate.serving,
    serverName: gatewayHost,
    caPem: () => certificate.caPem,
    leadership: {
      leads: () => elector?.isLeader() === true,
      leader: () => elector?.holder()?.address,
    },
    installationId: id,
    store,
    hub,
    directory: { find: (clientRunId) => runs.find(clientRunId) },
    reviewer: new ApiTokenReviewer(client),
    onNotice: (profile, headers, body) => vendorRuns.onNotice(profile, headers, body),
    onError: (message, err) => log.warn({ err }, message),
  });
  const reading = ResultsReading.of({ options, client, store, installation: id, certificate, log });
  const renew = (serving: ServingMaterial) => {
    gateway.setTls(serving);
    reading?.setTls(serving);
  };
  certificate.keepRenewed(renew, warn('the gateway’s certificate could not be looked after'));
  let synced = false;
  const storeProbe = new StoreProbe((ending) => store.check(ending));
  storeProbe.start();
  const health = new HealthServer({
    port: options['metrics-port'],
    registry: metrics.registry,
    operator: () => ({ stopping: signal.aborted, cachesComplete: synced, storeReachable: storeProbe.reachable }),
    leads: () => elector?.isLeader() === true,
    profiles: () => [...caches.profiles.list()].map(profileFacts),
    profile: (name) => {
      const view = caches.profiles.get(name);
      return view === undefined ? undefined : profileFacts(view);
    },
  });
  metrics.gauge('worldflux_cached_runs', 'WorldRuns in the cache', () => caches.runs.size);
  metrics.gauge('worldrun_store_bytes', 'Bytes in the run store of runs that ended', () => usage.total);
  metrics.measure('worldrun', runQueue);
  metrics.measure('runtimeprofile', profileQueue);

  const gatewayPort = await gateway.listen();
  elector = new LeaderElector({
    client,
    namespace,
    name: LEASE,
    identity: `${hostname()}_${process.pid}_${crypto.randomUUID().slice(0, 8)}`,
    ...(options['replica-address'] !== undefined && {
      address: hostAndPort(options['replica-address'], gatewayPort),
    }),
    highestKnownEpoch: () => highestEpoch(caches.runs.list()),
    onError: warn('the Lease could not be read or written'),
    lead: async (term, lost) => {
      log.info({ epoch: term }, 'leading');
      metrics.leads(true);
      const counting = countUsage(usage, lost, warn('what each namespace has stored could not be counted'));
      // Runs do not wait for a store that is slow or away: until it was counted, the last count stands.
      await Promise.race([counting, pause(USAGE_MS, lost)]);
      runs.restore();
      for (const profile of caches.profiles.list()) profileQueue.add(profile.name);
      runQueue.start();
      profileQueue.start();
      retention.start();
      vendorRuns.start();
      const stopSync = sync.start();
      await aborted(lost);
      metrics.leads(false);
      retention.stop();
      vendorRuns.stop();
      await Promise.all([runQueue.stop(), profileQueue.stop(), stopSync()]);
    },
  });

  const ports = {
    gateway: gatewayPort,
    metrics: await health.listen(),
    ...(reading !== undefined && { resultsApi: await reading.listen() }),
  };
  for (const reflector of reflectors) reflector.start();
  try {
    await Promise.race([Promise.all(reflectors.map((reflector) => reflector.synced)), aborted(signal)]);
    synced = !signal.aborted;
    vendorRuns.watchSecrets();
    log.info({ ...ports, runs: caches.runs.size, installation: id }, 'ready');
    const end = signal.aborted ? 'stopped' : await elector.run(signal);
    return end === 'lost' ? 'lost' : 'stopped';
  } finally {
    certificate.stop();
    storeProbe.stop();
    await Promise.all([
      ...reflectors.map((reflector) => reflector.stop().catch(() => {})),
      gateway.close(),
      reading?.close(),
      health.close(),
      results.close(),
      vendorRuns.close(),
      telemetry.close(),
      events.stop(AbortSignal.timeout(2000)),
    ]);
    await client.close();
  }
}

const profileFacts = ({ name, spec, status }: ProfileView): ProfileFacts => ({
  name,
  runtime: spec.runtime,
  conditions: status.conditions ?? [],
  doctor: status.doctor ?? [],
});

function highestEpoch(
  runs: Iterable<{ state: 'live'; status: { epoch?: number | undefined } } | { state: 'settled' }>,
): number {
  let highest = 0;
  for (const run of runs) if (run.state === 'live') highest = Math.max(highest, run.status.epoch ?? 0);
  return highest;
}

/** Until it has worked once, or `signal` aborts. Never rejects. */
async function countUsage(usage: Usage, signal: AbortSignal, onError: (error: unknown) => void): Promise<void> {
  while (!signal.aborted) {
    try {
      return await usage.load(signal);
    } catch (error) {
      if (!signal.aborted) onError(error);
      await pause(USAGE_AGAIN_MS, signal);
    }
  }
}

const hostAndPort = (host: string, port: number): string => (isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`);

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
