/** `WORLDFLUX_CLUSTER_PROVIDER=kind` runs the same suites on kind, where Docker and a registry can be reached. */
export const usesKind = process.env['WORLDFLUX_CLUSTER_PROVIDER'] === 'kind';
