import type { Decision } from './decision.ts';
import type { Cluster, Results } from './ports.ts';
import type { Vendors } from '../remote/vendors.ts';
import type { LiveRun } from './view.ts';

/** Fixed facts of this installation. */
export interface Installation {
  id: string;
  namespace: string;
  /** Image of the collector and of the source fetcher: the operator's own. */
  image: string;
  gatewayUrl: string;
  caPem: string;
  /** Authorities of this installation, which the run store's certificate may be of. */
  storeCaPem?: string | undefined;
}

/** What doing a decision needs beside the world that it was made in. */
export interface Apply {
  cluster: Cluster;
  results: Results;
  vendors: Vendors;
  installation: Installation;
  /** The Lease's transition count while this process leads; throws when it does not. */
  epoch(): number;
  /** Our own writes, put into the caches at once: the next look sees them. */
  seen: {
    run(object: Awaited<ReturnType<Cluster['applyRunStatus']>>): void;
    job(object: Awaited<ReturnType<Cluster['createJob']>>): void;
    jobGone(namespace: string, name: string): void;
    pods(objects: Awaited<ReturnType<Cluster['readPods']>>): void;
    pin(object: Awaited<ReturnType<Cluster['createPin']>>): void;
  };
  ledger: {
    request(run: LiveRun, wanted: Decision & { do: 'reserve' }): Promise<void>;
    release(run: LiveRun): void;
  };
  now(): number;
}
