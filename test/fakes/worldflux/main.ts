import { parseArgs } from 'node:util';
import { DIALECTS } from './dialects.ts';
import { startWorldFlux, TEST_KEY, TEST_PROJECT, TEST_WORKSPACE } from './server.ts';

/** The fake on its own, for the demo and for trying things by hand. Prints a line for each request. */

const { values } = parseArgs({
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '8790' },
    'upload-port': { type: 'string', default: '8791' },
    dialect: { type: 'string', default: 'plain' },
    key: { type: 'string', multiple: true },
    project: { type: 'string', multiple: true },
    'hide-openapi': { type: 'boolean', default: false },
  },
});

const dialect = DIALECTS.find(({ name }) => name === values.dialect);
if (dialect === undefined) {
  console.error(`--dialect: one of ${DIALECTS.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}
const fake = await startWorldFlux({
  dialect,
  host: values.host,
  port: Number(values.port),
  uploadPort: Number(values['upload-port']),
  hideOpenApi: values['hide-openapi'],
});
for (const key of values.key ?? []) fake.state.keys.set(key, TEST_WORKSPACE);
for (const project of values.project ?? []) fake.state.addProject(TEST_WORKSPACE, project);

console.log(`inferred WorldFlux sync API on ${fake.url}, uploads on ${fake.uploadUrl} (dialect ${dialect.name})`);
console.log(
  `keys: ${[TEST_KEY, ...(values.key ?? [])].join(', ')}; projects: ${[TEST_PROJECT, ...(values.project ?? [])].join(', ')}`,
);

let printed = 0;
const printing = setInterval(() => {
  for (; printed < fake.traffic.requests.length; printed += 1) {
    const { route, method, url, status, upload } = fake.traffic.requests[printed] ?? {};
    console.log(`${route} ${method} ${url?.split('?')[0]} ${status ?? '…'}${upload ? ` ${upload.size} bytes` : ''}`);
  }
}, 500);

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    clearInterval(printing);
    void fake.close();
  });
}
