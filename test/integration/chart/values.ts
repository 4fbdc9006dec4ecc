/** Sets of values that a person may really use; each is rendered, and given to a real API server to judge. */

export const DIGEST = `sha256:${'0123456789abcdef'.repeat(4)}`;

export const VALUE_SETS: Record<string, object> = {
  defaults: {},
  's3, two replicas': {
    replicas: 2,
    image: { digest: DIGEST },
    store: {
      kind: 's3',
      s3: {
        bucket: 'results',
        region: 'eu-central-1',
        endpoint: 'https://minio.example',
        pathStyle: true,
        credentialsSecret: 's3',
      },
    },
  },
  's3 by the identity of the service account': {
    store: { kind: 's3', s3: { bucket: 'results' } },
    serviceAccount: { annotations: { 'eks.amazonaws.com/role-arn': 'arn:aws:iam::1:role/worldflux' } },
  },
  'a claim of the user': { store: { files: { existingClaim: 'mine' } } },
  'a class and a size': { store: { files: { storageClass: 'fast', size: '1.5Ti', keep: false } } },
  'a picky cluster': {
    image: { repository: 'registry.example:5000/worldflux/operator', tag: '1.2.3-rc.1', pullPolicy: 'Always' },
    imagePullSecrets: [{ name: 'regcred' }],
    credentialSecrets: ['worldflux-key', 'replicate'],
    nodeSelector: { 'kubernetes.io/os': 'linux' },
    tolerations: [{ key: 'system', operator: 'Exists', effect: 'NoSchedule' }],
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [{ matchExpressions: [{ key: 'disk', operator: 'In', values: ['ssd'] }] }],
        },
      },
    },
    topologySpreadConstraints: [
      { maxSkew: 1, topologyKey: 'topology.kubernetes.io/zone', whenUnsatisfiable: 'DoNotSchedule' },
    ],
    priorityClassName: 'system-cluster-critical',
    podAnnotations: { 'example.com/team': 'platform' },
    resources: { requests: { cpu: '1' }, limits: { memory: '2Gi' } },
    settings: {
      workers: 4,
      logLimitMiB: 8,
      logLevel: 'debug',
      syncConcurrency: 2,
      clusterRanges: ['10.0.0.0/8', 'fd00::/8'],
      installationId: '7b0c1c52-6d5f-5d3e-8f43-6d3a4a0c8f11',
      orphanAgeSeconds: 60,
      otlpEndpoint: 'http://collector.monitoring:4318',
      otlpHeadersSecret: 'collector',
    },
    extraCACertificates: { configMap: 'corporate', key: 'root.pem' },
  },
  'a network policy': {
    networkPolicy: {
      enabled: true,
      metricsFrom: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } } }],
    },
  },
  'watched by the Prometheus operator and Grafana': {
    serviceMonitor: { enabled: true, interval: '1m', labels: { release: 'prometheus' } },
    prometheusRule: { enabled: true, labels: { release: 'prometheus' } },
    grafanaDashboard: { enabled: true },
  },
  'certificates by cert-manager': { certManager: { enabled: true, issuerRef: { name: 'ca', kind: 'ClusterIssuer' } } },
  'a busy API server': { apiServerPriority: { enabled: true, shares: 10 } },
  'without the results API': { resultsApi: { enabled: false } },
  'without CRDs': { crds: { enabled: false } },
  'CRDs that go with the release': { crds: { keep: false } },
};

/** Values that are refused, and what the refusal must name. */
export const REFUSED: Record<string, { values: object; naming: RegExp }> = {
  'two replicas with files': { values: { replicas: 2 }, naming: /replicas: more than one needs store\.kind s3/ },
  's3 without a bucket': { values: { store: { kind: 's3' } }, naming: /store\.s3\.bucket/ },
  'cert-manager without an issuer': {
    values: { certManager: { enabled: true } },
    naming: /certManager\.issuerRef\.name/,
  },
  'headers for nobody': {
    values: { settings: { otlpHeadersSecret: 'collector' } },
    naming: /otlpHeadersSecret: headers need settings\.otlpEndpoint/,
  },
  'a share of nothing': { values: { apiServerPriority: { shares: 0 } }, naming: /apiServerPriority.*shares/s },
  'a value that does not exist': { values: { store: { filez: {} } }, naming: /filez/ },
  'a store of another kind': { values: { store: { kind: 'gcs' } }, naming: /store.*kind/s },
  'a digest that is none': { values: { image: { digest: 'sha256:abc' } }, naming: /image.*digest/s },
  'text for a number': { values: { settings: { workers: 'many' } }, naming: /settings.*workers/s },
  'a size that is none': { values: { store: { files: { size: 'big' } } }, naming: /files.*size/s },
  'a range that is none': { values: { settings: { clusterRanges: ['10.0.0.0'] } }, naming: /clusterRanges/ },
  'a Secret without a name': { values: { credentialSecrets: [''] }, naming: /credentialSecrets/ },
};
