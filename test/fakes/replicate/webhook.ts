import { createHmac } from 'node:crypto';

/** A delivery as the vendor signs it. */
export interface SignedDelivery {
  readonly headers: Record<string, string>;
  readonly body: Buffer;
}

/** `secret` as the API gives it: `whsec_` and base64. `at`: milliseconds since the epoch. */
export function signDelivery(secret: string, id: string, at: number, body: Buffer): SignedDelivery {
  const timestamp = String(Math.floor(at / 1000));
  const key = Buffer.from(secret.slice(secret.indexOf('_') + 1), 'base64');
  const signature = createHmac('sha256', key)
    .update(Buffer.concat([Buffer.from(`${id}.${timestamp}.`), body]))
    .digest('base64');
  return {
    headers: {
      'content-type': 'application/json',
      'webhook-id': id,
      'webhook-timestamp': timestamp,
      'webhook-signature': `v1,${signature}`,
    },
    body,
  };
}
