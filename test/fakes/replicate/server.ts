import { randomUUID } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { buildApi, type SeenRequest } from './api.ts';
import { addControl } from './control.ts';
import { buildDelivery } from './delivery.ts';
import { FaultScript, type OperationName } from './faults.ts';
import { ReplicateState, type Behaviour } from './state.ts';
import { signDelivery, type SignedDelivery } from './webhook.ts';

export { DEPLOYMENT, MODEL, TOKEN, VERSION } from './state.ts';

export interface FakeOptions {
  /** Address to listen on. */
  host?: string;
  port?: number;
  deliveryPort?: number;
  /** The name of this host in answers; default: the address. */
  publicHost?: string;
  now?: () => number;
  behaviour?: Partial<Behaviour>;
}

export interface FakeReplicate {
  /** What goes into `spec.replicate.endpoint`: ends with /v1. */
  url: string;
  /** Where `/_control` is. */
  controlUrl: string;
  deliveryUrl: string;
  state: ReplicateState;
  faults: FaultScript;
  /** Everything that arrived, in order. */
  log: SeenRequest[];
  violations: string[];
  /** What answers call this API, where that is another place than `url`. */
  publicUrl: string;
  /** Requests of one kind so far. */
  requests(operation: OperationName): SeenRequest[];
  /** The notice about a prediction as the vendor would send it now. */
  delivery(id: string, messageId?: string): SignedDelivery;
  close(): Promise<void>;
}

/** One account with TOKEN, the official model MODEL, its VERSION and the DEPLOYMENT of it. */
export async function startReplicate(options: FakeOptions = {}): Promise<FakeReplicate> {
  const { host = '127.0.0.1', publicHost = host } = options;
  const state = new ReplicateState(options.now);
  state.behaviour = { ...state.behaviour, ...options.behaviour };
  const faults = new FaultScript();
  const log: SeenRequest[] = [];
  const violations: string[] = [];
  const api = buildApi({ state, faults, log, publicUrl: () => fake.publicUrl });
  addControl(api, { state, faults, log, violations });
  const delivery = buildDelivery({ state, faults, log, violations });
  await delivery.listen({ host, port: options.deliveryPort ?? 0 });
  await api.listen({ host, port: options.port ?? 0 });
  const portOf = (app: typeof api) => (app.server.address() as AddressInfo).port;
  const controlUrl = `http://${publicHost}:${portOf(api)}`;
  state.deliveryUrl = `http://${publicHost}:${portOf(delivery)}`;
  const fake: FakeReplicate = {
    url: `${controlUrl}/v1`,
    controlUrl,
    deliveryUrl: state.deliveryUrl,
    state,
    faults,
    log,
    violations,
    publicUrl: `${controlUrl}/v1`,
    requests: (operation) => log.filter((seen) => seen.operation === operation),
    delivery: (id, messageId = `msg_${randomUUID()}`) => {
      const prediction = state.predictions.get(id);
      if (prediction === undefined) throw new Error(`there is no prediction ${id}`);
      const body = Buffer.from(JSON.stringify(state.answer(prediction, fake.publicUrl)));
      return signDelivery(state.webhookSecret, messageId, state.now(), body);
    },
    close: async () => {
      await api.close();
      await delivery.close();
    },
  };
  return fake;
}
