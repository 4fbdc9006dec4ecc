import type { EventRecorder } from '../kube/events.ts';
import type { Caches } from './caches.ts';
import type { Orphan } from './remote/ports.ts';
import type { LiveRun, SettledRun } from './run/view.ts';

/** The Events that this operator writes: of what went wrong, never of what went well. */
export class Announcements {
  readonly #events: EventRecorder;
  readonly #caches: Caches;

  constructor(events: EventRecorder, caches: Caches) {
    this.#events = events;
    this.#caches = caches;
  }

  runEnded({ namespace, name, uid }: LiveRun, { succeeded, reason }: SettledRun): void {
    if (succeeded || reason === 'Cancelled') return;
    this.#events.record({
      type: 'Warning',
      reason,
      action: 'Finish',
      note: `The run ended with ${reason}.`,
      regarding: { apiVersion: 'worldflux.ai/v1alpha1', kind: 'WorldRun', namespace, name, uid },
    });
  }

  orphanFound({ profile: name, externalId, action }: Orphan): void {
    const stopped = action === 'Deleted';
    this.#events.record({
      type: 'Warning',
      reason: 'OrphanFound',
      action: stopped ? 'Stop' : 'Report',
      note: `${externalId} runs at the vendor and no run names it${stopped ? '; it was stopped' : ''}.`,
      regarding: {
        apiVersion: 'worldflux.ai/v1alpha1',
        kind: 'RuntimeProfile',
        name,
        uid: this.#caches.profiles.get(name)?.uid ?? '',
      },
    });
  }
}
