// A process of its own that campaigns for a Lease and prints what becomes of it, one word a line.
import { randomUUID } from 'node:crypto';
import { KubeClient } from '../../../src/kube/client.ts';
import { loadClusterConfig } from '../../../src/kube/config.ts';
import { LeaderElector } from '../../../src/kube/lease.ts';

const [file = '', namespace = ''] = process.argv.slice(2);
const client = KubeClient.connect(loadClusterConfig({ file }), { userAgent: 'lease-holder' });
const elector = new LeaderElector({
  client,
  namespace,
  name: 'paused',
  identity: randomUUID(),
  leaseMs: 3000,
  renewDeadlineMs: 2000,
  retryMs: 250,
  lead: async (epoch, signal) => {
    let before = performance.now();
    console.log(`leads ${epoch}`);
    do {
      await new Promise(setImmediate);
      const now = performance.now();
      // The first look after a pause, whatever timers were due meanwhile.
      if (now - before > 1500) console.log(`woke ${elector.isLeader() ? 'leader' : 'not-leader'}`);
      before = now;
    } while (!signal.aborted);
  },
  onError: () => {},
});
console.log(`ended ${await elector.run(new AbortController().signal)}`);
await client.close();
