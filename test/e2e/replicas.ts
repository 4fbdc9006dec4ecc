import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, inject } from 'vitest';
import { LEASES } from '../../src/kube/resource.ts';
import { S3Store } from '../../src/results/store/s3.ts';
import type { RunStore } from '../../src/results/contract.ts';
import { attachCluster } from '../cluster/index.ts';
import { OPERATOR_IMAGE, operatorImage } from '../cluster/operator-image.ts';
import { until } from '../cluster/process.ts';
import { busyboxImage } from '../cluster/small-images.ts';
import { startS3, type S3Server } from '../fakes/s3/server.ts';
import { installCrds } from '../integration/install-crds.ts';
import { nothingWasRefused, tellComplaints } from './fixture.ts';
import { Kit, SHELL_PROFILE } from './kit.ts';
import { freePort, startOperator, type OperatorProcess } from './operator-process.ts';
import { auditSize, operatorKubeconfig, SYSTEM } from './rights.ts';
import { Service } from './service.ts';

export interface Replica extends OperatorProcess {
  gatewayPort: number;
}

const INSTALLATION = '1f0c1c52-6d5f-5d3e-8f43-6d3a4a0c8f22';
const BUCKET = 'results';
const S3 = { region: 'us-east-1', forcePathStyle: true };

/** Operators that share a bucket and stand behind one Service; each can be killed, paused and replaced. */
export class Replicas {
  readonly kit: Kit;
  readonly profile: string;
  readonly service: Service;
  readonly store: RunStore;
  readonly #s3: S3Server;
  readonly #dir: string;
  readonly #kubeconfig: string;
  readonly #started: Replica[] = [];
  #all: readonly Replica[] = [];

  constructor(parts: { kit: Kit; profile: string; service: Service; s3: S3Server; dir: string; kubeconfig: string }) {
    this.kit = parts.kit;
    this.profile = parts.profile;
    this.service = parts.service;
    this.#s3 = parts.s3;
    this.#dir = parts.dir;
    this.#kubeconfig = parts.kubeconfig;
    const { endpoint, credentials } = parts.s3;
    this.store = new S3Store({ ...S3, bucket: BUCKET, endpoint, credentials, installationId: INSTALLATION });
  }

  get all(): readonly Replica[] {
    return this.#all;
  }

  tellComplaints(name: string): void {
    for (const [i, replica] of this.#started.entries()) tellComplaints(`${name}, replica ${i}`, replica.log());
  }

  /** Started and ready; behind the Service from then on. */
  async start(): Promise<Replica> {
    const { cluster } = this.kit;
    const gatewayPort = await freePort();
    const replica = await startOperator({
      cluster,
      dir: this.#dir,
      gatewayPort,
      gatewayUrl: `https://${cluster.hostAddress}:${this.service.port}`,
      namespace: SYSTEM,
      kubeconfig: this.#kubeconfig,
      image: OPERATOR_IMAGE,
      env: { AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test' },
      args: Object.entries({
        store: 's3',
        's3-bucket': BUCKET,
        's3-endpoint': this.#s3.endpoint,
        's3-path-style': 'true',
        'installation-id': INSTALLATION,
        'replica-address': '127.0.0.1',
      }).flatMap(([setting, value]) => [`--${setting}`, value]),
    });
    const started = { ...replica, gatewayPort };
    this.#started.push(started);
    this.#all = [...this.#all, started];
    void replica.ended.then(() => {
      this.#all = this.#all.filter((one) => one !== started);
    });
    await this.serveBy(...this.#all);
    return started;
  }

  async serveBy(...replicas: readonly Replica[]): Promise<void> {
    await this.service.select(
      ...replicas.map(({ gatewayPort, metricsUrl }) => ({ port: gatewayPort, healthUrl: metricsUrl })),
    );
  }

  /** Who leads, and the others; waits until somebody does. */
  async roles(): Promise<{ leader: Replica; standbys: Replica[] }> {
    const holder = async (): Promise<Replica | undefined> => {
      const lease = await this.kit.client.get(LEASES, { namespace: SYSTEM, name: 'worldflux-operator' });
      const pid = Number(lease.spec?.holderIdentity?.split('_')[1]);
      return this.#all.find((replica) => replica.pid === pid);
    };
    const leader = await until('one of the replicas to lead', holder, { timeoutMs: 60_000 });
    return { leader, standbys: this.#all.filter((replica) => replica !== leader) };
  }
}

/** Registers set-up and clean-up of the calling file: two replicas are up before its first test. */
export function replicas(name: string): { readonly current: Replicas } {
  const world = {} as { current: Replicas };
  let end: () => Promise<void> = async () => {};
  beforeAll(async () => {
    const cluster = await attachCluster(inject('cluster'));
    if (cluster === undefined) throw new Error('the layer has no cluster');
    await cluster.loadImage(await busyboxImage());
    await cluster.loadImage(await operatorImage());
    await installCrds(cluster);
    const dir = await mkdtemp(join(tmpdir(), `worldflux-e2e-${name}-`));
    const [kit, s3, service] = await Promise.all([
      Kit.open(cluster, `${name}-${Date.now().toString(36)}`),
      startS3(cluster.hostAddress),
      Service.open(),
    ]);
    await kit.ensureNamespace(SYSTEM);
    const auditFrom = await auditSize(cluster);
    const kubeconfig = await operatorKubeconfig(cluster);
    const bucket = new S3Client({ ...S3, endpoint: s3.endpoint, credentials: s3.credentials });
    await bucket.send(new CreateBucketCommand({ Bucket: BUCKET }));
    bucket.destroy();
    const profile = `${name}-shell`;
    await kit.apply(kit.profile(profile, { ...SHELL_PROFILE, outputSizeLimit: '512Mi' }));
    world.current = new Replicas({ kit, profile, service, s3, dir, kubeconfig });
    end = async () => {
      for (const replica of world.current.all) replica.resume();
      await Promise.all(world.current.all.map((replica) => replica.stop()));
      world.current.tellComplaints(name);
      service.close();
      await kit.cluster.kubectl(['delete', 'runtimeprofiles', '--all', '--wait=false']);
      await kit.close();
      await nothingWasRefused(cluster, auditFrom);
      await s3.stop();
      await rm(dir, { recursive: true, force: true });
    };
    await world.current.start();
    await world.current.start();
  }, 600_000);
  afterAll(() => end());
  return world;
}
