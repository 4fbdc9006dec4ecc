import type { AddressInfo } from 'node:net';
import { buildApi } from './api.ts';
import { plain, type Dialect } from './dialects.ts';
import { FaultScript } from './faults.ts';
import { WorldFluxState } from './state.ts';
import { RecordingDoor, Traffic } from './traffic.ts';
import { buildUploads } from './uploads.ts';

export interface FakeOptions {
  dialect?: Dialect;
  hideOpenApi?: boolean;
  /** Bytes of a JSON body; more is 413. */
  bodyLimit?: number;
  /** Address to listen on. */
  host?: string;
  port?: number;
  uploadPort?: number;
  now?: () => number;
  /** Keep every byte that arrives, on both hosts. */
  record?: boolean;
}

export interface FakeWorldFlux {
  url: string;
  uploadUrl: string;
  state: WorldFluxState;
  faults: FaultScript;
  traffic: Traffic;
  /** The whole target is gone: connections are dropped, or every request gets this status. */
  setOutage(outage: 'refuse' | number | undefined): void;
  /** With `record`: everything received so far. */
  received(): Buffer;
  close(): Promise<void>;
}

/** One workspace `acme` with the key `wfx_test_key` and the project `demo-box`. */
export const TEST_KEY = 'wfx_test_key';
export const TEST_PROJECT = 'demo-box';
export const TEST_WORKSPACE = 'acme';

export async function startWorldFlux(options: FakeOptions = {}): Promise<FakeWorldFlux> {
  const {
    dialect = plain,
    hideOpenApi = false,
    bodyLimit = 4 * 1024 * 1024,
    host = '127.0.0.1',
    record = false,
  } = options;
  const state = new WorldFluxState(options.now);
  state.keys.set(TEST_KEY, TEST_WORKSPACE);
  state.addProject(TEST_WORKSPACE, TEST_PROJECT);
  const faults = new FaultScript();
  const traffic = new Traffic();
  let outage: 'refuse' | number | undefined;
  let uploadPort = 0;
  const api = buildApi({
    state,
    faults,
    traffic,
    dialect,
    hideOpenApi,
    bodyLimit,
    outage: () => outage,
    uploadOrigin: (request) => `http://${request.hostname}:${uploadPort}`,
  });
  const uploads = buildUploads(state, faults, traffic);
  await uploads.listen({ host, port: options.uploadPort ?? 0 });
  await api.listen({ host, port: options.port ?? 0 });
  let apiPort = (api.server.address() as AddressInfo).port;
  uploadPort = (uploads.server.address() as AddressInfo).port;
  const doors = record ? [new RecordingDoor(apiPort), new RecordingDoor(uploadPort)] : [];
  const [apiDoor, uploadDoor] = doors;
  if (apiDoor !== undefined && uploadDoor !== undefined) {
    apiPort = await apiDoor.listen();
    uploadPort = await uploadDoor.listen();
  }
  return {
    url: `http://127.0.0.1:${apiPort}`,
    uploadUrl: `http://127.0.0.1:${uploadPort}`,
    state,
    faults,
    traffic,
    setOutage: (next) => (outage = next),
    received: () => Buffer.concat(doors.flatMap((door) => door.received)),
    close: async () => {
      for (const door of doors) door.close();
      await api.close();
      await uploads.close();
    },
  };
}
