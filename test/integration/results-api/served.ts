import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { inject } from 'vitest';
import { parse, stringify } from 'yaml';
import { attachCluster, type Cluster } from '../../cluster/index.ts';
import { KubeClient } from '../../../src/kube/client.ts';
import { loadClusterConfig } from '../../../src/kube/config.ts';
import { NAMESPACES, SERVICE_ACCOUNTS } from '../../../src/kube/resource.ts';
import type { RunStore } from '../../../src/results/contract.ts';
import { ensureTls } from '../../../src/results/gateway/tls.ts';
import { RESULTS, resultsPath, type ResultsPart, type ResultsQuery } from '../../../src/results/api/protocol.ts';
import { API_SERVICE, Registration } from '../../../src/results/api/registration.ts';
import { ResultsApi } from '../../../src/results/api/server.ts';
import { installCrds } from '../install-crds.ts';
import { idOf } from './finished-run.ts';

const SERVICE = 'worldflux-results-test';

/** Somebody who speaks to the API server as kubectl does. */
export interface Person {
  kubeconfig: string;
  kubectl(...args: string[]): Promise<string>;
  /** The body, or kubectl's complaint as a rejection. */
  read(run: { namespace: string; name: string }, part: ResultsPart, query?: ResultsQuery): Promise<string>;
}

/** The results API as the operator serves it, registered with a real API server. */
export class Served {
  readonly cluster: Cluster;
  readonly client: KubeClient;
  readonly port: number;
  readonly admin: Person;
  readonly complaints: string[];
  readonly #api: ResultsApi;
  readonly #registration: Registration;
  readonly #namespaces: string[] = [];

  private constructor(
    cluster: Cluster,
    client: KubeClient,
    api: ResultsApi,
    registration: Registration,
    port: number,
    complaints: string[],
  ) {
    this.cluster = cluster;
    this.client = client;
    this.#api = api;
    this.#registration = registration;
    this.port = port;
    this.complaints = complaints;
    this.admin = this.person(cluster.kubeconfig);
  }

  static async start(store: RunStore): Promise<Served> {
    const cluster = await attachCluster(inject('cluster'));
    if (cluster === undefined) throw new Error('the layer has no cluster');
    await installCrds(cluster);
    const client = KubeClient.connect(loadClusterConfig({ file: cluster.kubeconfig }), { userAgent: 'results-tests' });
    const { material } = await ensureTls(undefined, [`${SERVICE}.default.svc`]);
    const complaints: string[] = [];
    const api = new ResultsApi({
      port: 0,
      tls: material,
      client,
      store,
      clientRunIdOf: idOf,
      onError: (message, cause) => complaints.push(`${message}: ${String(cause)}`),
    });
    const port = await api.listen();
    // Where no Pod serves it, an address of this host does; the API refuses loopback addresses.
    const objects = [
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: SERVICE, namespace: 'default' },
        spec: { ports: [{ port }] },
      },
      {
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: { name: SERVICE, namespace: 'default', labels: { 'kubernetes.io/service-name': SERVICE } },
        addressType: 'IPv4',
        endpoints: [{ addresses: [ownAddress()], conditions: { ready: true } }],
        ports: [{ port, protocol: 'TCP' }],
      },
      {
        apiVersion: 'apiregistration.k8s.io/v1',
        kind: 'APIService',
        metadata: { name: API_SERVICE },
        spec: {
          group: 'results.worldflux.ai',
          version: 'v1alpha1',
          groupPriorityMinimum: 100,
          versionPriority: 10,
          service: { name: SERVICE, namespace: 'default', port },
        },
      },
    ];
    await cluster.kubectl(['apply', '-f', '-'], { input: objects.map((object) => stringify(object)).join('---\n') });
    const registration = new Registration(
      client,
      () => material.caCertPem,
      (error) => complaints.push(String(error)),
    );
    await registration.start();
    const served = new Served(cluster, client, api, registration, port, complaints);
    await served.#available();
    return served;
  }

  async #available(): Promise<void> {
    try {
      const args = ['wait', '--for=condition=Available', `apiservice/${API_SERVICE}`, '--timeout=45s'];
      await this.cluster.kubectl(args);
    } catch (cause) {
      const why = await this.cluster.kubectl(['get', 'apiservice', API_SERVICE, '-o', 'jsonpath={.status.conditions}']);
      throw new Error(`the API server does not reach the results API: ${why}`, { cause });
    }
  }

  async stop(): Promise<void> {
    this.#registration.stop();
    await this.cluster.kubectl(['delete', 'apiservice', API_SERVICE]);
    await this.cluster.kubectl(['delete', 'service,endpointslice', '-n', 'default', SERVICE]);
    for (const name of this.#namespaces)
      await this.cluster.kubectl(['delete', 'namespace', name, '--wait=false', '--ignore-not-found']);
    await this.#api.close();
    await this.client.close();
  }

  async namespace(): Promise<string> {
    const name = `results-${randomBytes(4).toString('hex')}`;
    await this.client.create(NAMESPACES, { metadata: { name } });
    this.#namespaces.push(name);
    return name;
  }

  /** A user with a client certificate, who may read results in one namespace. */
  async reader(name: string, namespace: string, ...parts: ResultsPart[]): Promise<Person> {
    await this.#grant(namespace, `--user=${name}`, parts);
    return this.person(await this.cluster.userKubeconfig({ name }));
  }

  /** A ServiceAccount with a token; `token` in place of its own, to try another. */
  async account(namespace: string, token?: string): Promise<Person> {
    const name = `robot-${randomBytes(3).toString('hex')}`;
    await this.client.create(SERVICE_ACCOUNTS, { metadata: { namespace, name } });
    await this.#grant(namespace, `--serviceaccount=${namespace}:${name}`, ['log', 'manifest', 'artifacts']);
    const { status } = await this.client.createSubresource<{ status: { token: string } }>(
      SERVICE_ACCOUNTS,
      { namespace, name },
      'token',
      { spec: { expirationSeconds: 600 } },
    );
    const config = parse(await readFile(this.cluster.kubeconfig, 'utf8')) as { users: { user: object }[] };
    config.users[0]!.user = { token: token ?? status.token };
    const file = join(this.cluster.dir, `${name}.kubeconfig`);
    await writeFile(file, stringify(config));
    return this.person(file);
  }

  person(kubeconfig: string): Person {
    const kubectl = (...args: string[]) => this.cluster.kubectl([`--kubeconfig=${kubeconfig}`, ...args]);
    return { kubeconfig, kubectl, read: (run, part, query) => kubectl('get', '--raw', resultsPath(run, part, query)) };
  }

  async #grant(namespace: string, subject: string, parts: readonly ResultsPart[]): Promise<void> {
    const name = `reads-${randomBytes(4).toString('hex')}`;
    const role = {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'Role',
      metadata: { namespace, name },
      rules: [
        {
          apiGroups: ['results.worldflux.ai'],
          resources: (parts.length === 0 ? Object.keys(RESULTS) : parts).map((part) => `worldruns/${part}`),
          verbs: ['get'],
        },
      ],
    };
    await this.cluster.kubectl(['apply', '-f', '-'], { input: stringify(role) });
    await this.cluster.kubectl(['create', 'rolebinding', name, '-n', namespace, `--role=${name}`, subject]);
  }
}

function ownAddress(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  const found = addresses.find(({ internal, family }) => !internal && family === 'IPv4');
  if (found === undefined) throw new Error('this host has no address but loopback');
  return found.address;
}
