import type { Logger } from 'pino';
import type { KubeClient } from '../kube/client.ts';
import type { OperatorOptions } from '../options.ts';
import { Registration } from '../results/api/registration.ts';
import { ResultsApi } from '../results/api/server.ts';
import type { RunStore } from '../results/contract.ts';
import type { ServingMaterial } from '../results/gateway/tls.ts';
import { clientRunId } from './identity.ts';
import type { ServingCertificate } from './certificate/serving-certificate.ts';

/** The Service by which the API server reaches the results API; its chart's APIService names it. */
export const resultsApiHost = (namespace: string): string => `worldflux-operator-results-api.${namespace}.svc`;

export interface ResultsReadingOptions {
  options: OperatorOptions;
  client: KubeClient;
  store: RunStore;
  installation: string;
  certificate: ServingCertificate;
  log: Logger;
}

/** Reading results through the API server; every replica serves it. */
export class ResultsReading {
  readonly #api: ResultsApi;
  readonly #registration: Registration;

  private constructor({ client, store, installation, certificate, log }: ResultsReadingOptions, port: number) {
    this.#api = new ResultsApi({
      port,
      tls: certificate.serving,
      client,
      store,
      clientRunIdOf: (run) => clientRunId(installation, run),
      onError: (message, err) => log.warn({ err }, message),
    });
    this.#registration = new Registration(
      client,
      () => certificate.caPem,
      (err) => log.warn({ err }, 'the APIService could not be given the authority of the results API'),
    );
  }

  /** Undefined when the settings leave it off. */
  static of(parts: ResultsReadingOptions): ResultsReading | undefined {
    const port = parts.options['results-api-port'];
    return port === undefined || port === 0 ? undefined : new ResultsReading(parts, port);
  }

  /** Answers the port that is listened on. */
  async listen(): Promise<number> {
    const port = await this.#api.listen();
    await this.#registration.start();
    return port;
  }

  setTls(serving: ServingMaterial): void {
    this.#api.setTls(serving);
  }

  async close(): Promise<void> {
    this.#registration.stop();
    await this.#api.close();
  }
}
