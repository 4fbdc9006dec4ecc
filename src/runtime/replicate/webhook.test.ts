import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { signDelivery } from '../../../test/fakes/replicate/webhook.ts';
import { aVendor } from './testing/a-vendor.ts';
import { fetchWebhookSecret, TOLERANCE_MS, verifyWebhook, WebhookReceiver, WebhookSecrets } from './webhook.ts';

const SECRET = `whsec_${Buffer.from('a key of twenty-four bytes').toString('base64')}`;
const OTHER = `whsec_${Buffer.from('another key of some length').toString('base64')}`;
const NOW = 1_800_000_000_000;
const BODY = Buffer.from('{"id":"abc123","status":"succeeded"}');

const delivery = ({ headers, body }: ReturnType<typeof signDelivery>) => ({
  id: headers['webhook-id'],
  timestamp: headers['webhook-timestamp'],
  signature: headers['webhook-signature'],
  body,
});
const signed = (at = NOW, secret = SECRET, body = BODY) => delivery(signDelivery(secret, 'msg_1', at, body));

describe('a delivery', () => {
  test('that the vendor signed now is the vendor’s', () => {
    expect(verifyWebhook(signed(), [SECRET], NOW)).toEqual({ ok: true, id: 'msg_1' });
  });

  test('is checked with every key, and every signature, while a key is exchanged', () => {
    expect(verifyWebhook(signed(), [OTHER, SECRET], NOW).ok).toBe(true);
    const both = { ...signed(), signature: `${signed(NOW, OTHER).signature} ${signed().signature}` };
    expect(verifyWebhook(both, [SECRET], NOW).ok).toBe(true);
  });

  test('from another time is refused, however well it is signed', () => {
    for (const at of [NOW - TOLERANCE_MS - 1000, NOW + TOLERANCE_MS + 1000, 0])
      expect(verifyWebhook(signed(at), [SECRET], NOW)).toEqual({ ok: false, why: 'untimely' });
    for (const at of [NOW - TOLERANCE_MS + 1000, NOW + TOLERANCE_MS - 1000])
      expect(verifyWebhook(signed(at), [SECRET], NOW).ok).toBe(true);
  });

  test.each([
    ['another key', signed(NOW, OTHER)],
    ['another version', { ...signed(), signature: signed().signature!.replace('v1,', 'v2,') }],
    ['no version', { ...signed(), signature: signed().signature!.replace('v1,', '') }],
    ['a part of it', { ...signed(), signature: signed().signature!.slice(0, 20) }],
    ['another id', { ...signed(), id: 'msg_2' }],
    ['another time', { ...signed(), timestamp: String(NOW / 1000 + 1) }],
    ['another body', { ...signed(), body: Buffer.from(`${BODY.toString()} `) }],
  ])('signed with %s is refused', (_, forged) => {
    expect(verifyWebhook(forged, [SECRET], NOW)).toEqual({ ok: false, why: 'unsigned' });
  });

  test.each([
    ['no id', { id: undefined }],
    ['no time', { timestamp: undefined }],
    ['no signature', { signature: undefined }],
    ['a time that is none', { timestamp: '1e9' }],
    ['an id of any form', { id: 'a b' }],
  ])('with %s is refused', (_, change) => {
    expect(verifyWebhook({ ...signed(), ...change }, [SECRET], NOW)).toEqual({ ok: false, why: 'incomplete' });
  });

  test.each(['', 'whsec_', 'whsec_AAAA'])('is never accepted by a key that is none: %j', (none) => {
    expect(verifyWebhook(signed(NOW, none), [none], NOW).ok).toBe(false);
    expect(verifyWebhook(signed(), [], NOW).ok).toBe(false);
  });

  test('is taken by its bytes, whatever they are, and by no others', () => {
    const bytes = fc.uint8Array({ maxLength: 64 }).map((array) => Buffer.from(array));
    fc.assert(
      fc.property(bytes, bytes, (body, other) => {
        const right = signed(NOW, SECRET, body);
        expect(verifyWebhook(right, [SECRET], NOW).ok).toBe(true);
        expect(verifyWebhook({ ...right, body: other }, [SECRET], NOW).ok).toBe(body.equals(other));
      }),
    );
  });
});

describe('the receiver', () => {
  const receiver = (fetch: () => Promise<string> = async () => SECRET) => {
    const onHint = vi.fn<(externalId: string) => void>();
    const clock = { now: NOW };
    const fetched = vi.fn<() => Promise<string>>(fetch);
    const now = () => clock.now;
    const to = new WebhookReceiver({ secrets: new WebhookSecrets(fetched, now), onHint, now });
    return { onHint, clock, fetched, receiver: to };
  };
  const send = (to: WebhookReceiver, id: string, body = BODY, at = NOW, secret = SECRET) => {
    const { headers } = signDelivery(secret, id, at, body);
    return to.receive(headers, body);
  };

  test('hands on which prediction has news, and takes what is sent again without a word', async () => {
    const { receiver: to, onHint } = receiver();
    expect(await send(to, 'msg_1')).toBe(204);
    expect(await send(to, 'msg_1')).toBe(204);
    expect(await send(to, 'msg_2')).toBe(204);
    expect(onHint.mock.calls).toEqual([['abc123'], ['abc123']]);
  });

  test('does not act on a replay, not even when it has forgotten the first', async () => {
    const { receiver: to, onHint, clock } = receiver();
    await send(to, 'msg_1');
    clock.now += 2 * TOLERANCE_MS;
    expect(await send(to, 'msg_1')).toBe(401);
    expect(onHint).toHaveBeenCalledTimes(1);
  });

  test('lets nobody use up an id by forging a delivery with it', async () => {
    const { receiver: to, onHint } = receiver();
    expect(await send(to, 'msg_1', BODY, NOW, OTHER)).toBe(401);
    expect(await send(to, 'msg_1')).toBe(204);
    expect(onHint).toHaveBeenCalledTimes(1);
  });

  test.each(['', 'hello', '[]', '{"id":"../account"}', '{"id":7}', 'null'])('makes nothing of %j', async (body) => {
    const { receiver: to, onHint } = receiver();
    expect(await send(to, 'msg_1', Buffer.from(body))).toBe(400);
    expect(onHint).not.toHaveBeenCalled();
  });

  test('asks to be sent it again while it has no key', async () => {
    const { receiver: to } = receiver(() => Promise.reject(new Error('no answer')));
    expect(await send(to, 'msg_1')).toBe(503);
  });

  test('asks for the key once, and again where it may have been exchanged', async () => {
    let key = SECRET;
    const { receiver: to, clock, fetched } = receiver(async () => key);
    await send(to, 'msg_1');
    await send(to, 'msg_2');
    expect(fetched).toHaveBeenCalledTimes(1);
    key = OTHER;
    clock.now += 61_000;
    expect(await send(to, 'msg_3', BODY, clock.now, OTHER)).toBe(204);
    expect(fetched).toHaveBeenCalledTimes(2);
  });

  test('does not ask the vendor as often as somebody forges', async () => {
    const { receiver: to, fetched } = receiver();
    for (let i = 0; i < 50; i += 1) expect(await send(to, `msg_${i}`, BODY, NOW, OTHER)).toBe(401);
    expect(fetched).toHaveBeenCalledTimes(1);
  });

  test('does not remember without bounds', async () => {
    const { receiver: to, onHint } = receiver();
    for (let i = 0; i < 10_050; i += 1) await send(to, `msg_${i}`);
    expect(onHint).toHaveBeenCalledTimes(10_050);
    expect(await send(to, 'msg_10049')).toBe(204);
    expect(onHint).toHaveBeenCalledTimes(10_050);
  });

  test('understands what the vendor sends, with the key that the vendor gives', async () => {
    const { fake, create, io } = await aVendor();
    const { externalId } = await create();
    const hints: string[] = [];
    const secrets = new WebhookSecrets(() => fetchWebhookSecret(io));
    const to = new WebhookReceiver({ secrets, onHint: (id) => hints.push(id) });
    const { headers, body } = fake.delivery(externalId);
    expect(await to.receive(headers, body)).toBe(204);
    expect(hints).toEqual([externalId]);
  });
});
