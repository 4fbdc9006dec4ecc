import type { DoctorLine } from '../../crds/runtime-profile.ts';
import type {
  FoundWork,
  Handle,
  Plan,
  PlanRefusal,
  ProfileRef,
  ResultSink,
  Runtime,
  RuntimeContext,
  RuntimeIo,
  RuntimeResult,
  RuntimeTraits,
  SendOnce,
  WorkState,
} from '../contract.ts';
import { PREDICTION_ID } from './answers.ts';
import { ask, endpointOf, TOKEN } from './client.ts';
import { collect } from './collect.ts';
import { doctor } from './doctor.ts';
import { isRefused } from './faults.ts';
import { digestOfAnswer, find } from './find.ts';
import { askedOf, Observer } from './observe.ts';
import { DELIVERY_HOSTS } from './outputs.ts';
import { CAPABILITIES, plan } from './plan.ts';
import { submit } from './submit.ts';
import { targetKey, targetOf } from './target.ts';
import { Uploads } from './uploads.ts';
import { z } from 'zod';
import { fetchWebhookSecret, WebhookReceiver, WebhookSecrets } from './webhook.ts';

/**
 * A guess: nothing is published on how soon a prediction stands in the list. Nothing is concluded from its absence
 * before, neither that it was not created nor that it is gone.
 */
const LIST_LAG_MS = 30_000;

/**
 * Predictions at Replicate; written after its public documentation and never run against it.
 *
 * The vendor knows no idempotency key and keeps no mark of ours. After an answer that was lost, a prediction is known
 * again by what it was made with and by its input: see {@link digestOfAnswer}.
 */
export class ReplicateRuntime implements Runtime {
  readonly name = 'replicate';
  readonly traits: RuntimeTraits = {
    kind: 'Vendor',
    paid: true,
    support: 'ProductionDisabled',
    idempotentCreate: false,
    marksWork: false,
    listLagMs: LIST_LAG_MS,
    pollMs: 5000,
    capabilities: CAPABILITIES,
    credentials: [{ name: TOKEN, aliases: ['REPLICATE_API_KEY'], required: true }],
    hosts: ['api.replicate.com', ...DELIVERY_HOSTS],
  };
  readonly #uploads = new Uploads();
  readonly #observer = new Observer(LIST_LAG_MS);
  /** Targets whose answers gave an input back otherwise than it was sent: for the doctor to tell. */
  readonly #altered = new Set<string>();

  doctor(profile: ProfileRef, io: RuntimeIo): Promise<DoctorLine[]> {
    return doctor(profile, io, this.#altered.has(placeOf(profile)));
  }

  plan(context: RuntimeContext): Plan | PlanRefusal {
    return plan(context);
  }

  notices(io: () => RuntimeIo, onHint: (externalId: string) => void): WebhookReceiver {
    return new WebhookReceiver({ secrets: new WebhookSecrets(async () => fetchWebhookSecret(io())), onHint });
  }

  async prepare(plan: Plan, io: RuntimeIo): Promise<void> {
    await this.#uploads.ensure(plan, io);
  }

  async create(plan: Plan, io: RuntimeIo & { readonly once: SendOnce }): Promise<Handle> {
    // Asks nothing when `prepare` has just done it; a file that has expired since is there again.
    const urls = await this.#uploads.ensure(plan, io);
    const { handle, answered } = await submit(plan, urls, io);
    if (answered !== undefined && !answered.dataRemoved) {
      // From here on the work exists: whatever this looks for must not make the create fail.
      const digest = await digestOfAnswer(targetOf(io.profile.spec.replicate!), answered, this.#uploads, io).catch(
        () => plan.requestDigest,
      );
      if (digest !== plan.requestDigest) this.#altered.add(placeOf(io.profile));
    }
    return handle;
  }

  observe(handles: readonly Handle[], io: RuntimeIo): Promise<ReadonlyMap<string, WorkState>> {
    return this.#observer.observe(handles, io);
  }

  collect(handle: Handle, context: RuntimeContext, sink: ResultSink, io: RuntimeIo): Promise<RuntimeResult> {
    return collect(handle, context, sink, io);
  }

  async teardown(handle: Handle, io: RuntimeIo): Promise<void> {
    const { externalId } = handle;
    if (!PREDICTION_ID.test(externalId)) return;
    try {
      await ask(
        io,
        { class: 'request', name: 'prediction cancel', ...askedOf([handle]) },
        // What it answers says nothing that observing does not say better.
        (replicate) => replicate.request(`/predictions/${externalId}/cancel`, { method: 'POST' }),
        z.unknown(),
      );
    } catch (error) {
      // Unknown there, or over already.
      if (!isRefused(error, 404, 409, 410, 422)) throw error;
    }
  }

  list(since: number, io: RuntimeIo): AsyncIterable<FoundWork> {
    return find({ since, uploads: this.#uploads }, io);
  }
}

const placeOf = (profile: ProfileRef): string =>
  `${endpointOf(profile)} ${targetKey(targetOf(profile.spec.replicate!))}`;
