import { S3Client, S3ServiceException, type S3ClientConfig } from '@aws-sdk/client-s3';
import { StoreError } from './errors.ts';

export interface S3StoreOptions {
  bucket: string;
  installationId: string;
  region: string;
  /** Absent: AWS. Reached by the operator and by the pods of the runs alike. */
  endpoint?: string;
  /** `https://host/bucket/key`, for stores without a name for each bucket. */
  forcePathStyle?: boolean;
  /** Absent: the SDK's chain (environment, web identity, instance role). */
  credentials?: { accessKeyId: string; secretAccessKey: string; sessionToken?: string };
}

/** Milliseconds for one call, its retries included. Bodies that are streamed have an idle limit instead. */
const CALL_TIMEOUT = 60_000;

export function makeClient(options: S3StoreOptions): S3Client {
  const config: S3ClientConfig = {
    region: options.region,
    maxAttempts: 4,
    // By default the SDK adds a CRC to everything, presigned URLs included, that many stores refuse or store wrongly.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: {
      connectionTimeout: 5_000,
      requestTimeout: 30_000,
      // Without it the SDK only warns, and goes on waiting.
      throwOnRequestTimeout: true,
      socketTimeout: 30_000,
      httpAgent: { maxSockets: 64 },
      httpsAgent: { maxSockets: 64 },
    },
  };
  if (options.endpoint !== undefined) config.endpoint = options.endpoint;
  if (options.forcePathStyle !== undefined) config.forcePathStyle = options.forcePathStyle;
  if (options.credentials !== undefined) config.credentials = options.credentials;
  return new S3Client(config);
}

/** The caller's signal and the time limit of a call. */
export function limited(signal?: AbortSignal): { abortSignal: AbortSignal } {
  const timeout = AbortSignal.timeout(CALL_TIMEOUT);
  return { abortSignal: signal === undefined ? timeout : AbortSignal.any([timeout, signal]) };
}

/** True for an answer with one of these codes or HTTP statuses. */
export function answered(error: unknown, ...codes: (string | number)[]): boolean {
  if (!(error instanceof S3ServiceException)) return false;
  return codes.includes(error.name) || codes.includes(error.$metadata.httpStatusCode ?? 0);
}

/** Runs a call and names what went wrong in the store's own words. */
export async function inWords<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw s3Error(error, signal);
  }
}

function s3Error(error: unknown, signal: AbortSignal | undefined): unknown {
  if (error instanceof StoreError || !(error instanceof Error)) return error;
  if (signal?.aborted) return new StoreError('aborted', 'ended by the caller', error);
  if (answered(error, 'NoSuchUpload')) return new StoreError('noUpload', 'no such upload', error);
  if (answered(error, 412)) return new StoreError('conflict', 'other bytes are already stored there', error);
  if (answered(error, 'EntityTooLarge')) return new StoreError('tooLarge', 'too large for the bucket', error);
  const status = error instanceof S3ServiceException ? ` (HTTP ${error.$metadata.httpStatusCode ?? '?'})` : '';
  // The name only: messages of the SDK may hold the bucket's URL with a signature.
  return new StoreError('unavailable', `S3: ${error.name}${status}`, error);
}
