import { parseArgs } from 'node:util';
import { DEPLOYMENT, MODEL, startReplicate, TOKEN, VERSION } from './server.ts';

/** The fake as a process of its own. Its first line is JSON: where it listens and what is there. */

const { values } = parseArgs({
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '8795' },
    'delivery-port': { type: 'string', default: '0' },
    'public-host': { type: 'string' },
    'queue-ms': { type: 'string', default: '0' },
    'run-ms': { type: 'string', default: '0' },
    token: { type: 'string', multiple: true },
  },
});

const fake = await startReplicate({
  host: values.host,
  port: Number(values.port),
  deliveryPort: Number(values['delivery-port']),
  ...(values['public-host'] === undefined ? {} : { publicHost: values['public-host'] }),
  behaviour: { queueMs: Number(values['queue-ms']), runMs: Number(values['run-ms']) },
});
for (const token of values.token ?? []) fake.state.tokens.add(token);
const { url, controlUrl, deliveryUrl } = fake;
console.log(
  JSON.stringify({
    url,
    controlUrl,
    deliveryUrl,
    token: TOKEN,
    model: MODEL,
    version: VERSION,
    deployment: DEPLOYMENT,
  }),
);

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void fake.close());
