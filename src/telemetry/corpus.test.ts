import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { redactText } from './redaction.ts';

/** The classes of secrets that have to be found whatever the secret is: each is tried with fresh random ones. */

const LETTERS = 'ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz';
const random = (unit: string, minLength: number, maxLength = 60) =>
  fc.string({ unit: fc.constantFrom(...unit), minLength, maxLength });
/** Never only digits, which may be a number that people need. */
const word = random(`${LETTERS}0123456789`, 7).map((text) => `a1${text}`);
const base64 = random(`${LETTERS}0123456789+/`, 12).map((text) => `Q1${text}`);
/** Passwords hold anything but what ends a value. */
const password = random(`${LETTERS}0123456789!#$*+./-_~^`, 6).map((text) => `p${text}`);

const CLASSES: Record<string, [fc.Arbitrary<string>, (secret: string) => string]> = {
  'a bearer': [word, (s) => `Authorization: Bearer ${s}`],
  'a bearer without its header': [word, (s) => `sent bearer ${s} to the host`],
  'basic credentials': [base64, (s) => `Authorization: Basic ${s}`],
  'basic credentials without their header': [base64, (s) => `got Basic ${s} from it`],
  'a scheme called Token': [word, (s) => `Authorization: Token ${s}`],
  'a header without its colon': [word, (s) => `with authorization Token ${s}`],
  'a header behind a TAB': [word, (s) => `authorization\tBearer ${s}`],
  'a proxy’s digest': [word, (s) => `Proxy-Authorization: Digest username="u", realm="r", nonce="n", response="${s}"`],
  'a proxy’s digest in a JSON log': [
    word,
    (s) => JSON.stringify({ msg: `Proxy-Authorization: Digest username="u", response="${s}"`, level: 30 }),
  ],
  'a key of a vendor’s header': [word, (s) => `x-api-key: ${s}`],
  'a cookie': [password, (s) => `Cookie: theme=dark; session=${s}`],
  'a cookie that is set': [password, (s) => `set-cookie: sid=${s}; Path=/; HttpOnly`],
  'an assignment': [password, (s) => `password=${s}`],
  'an assignment with spaces': [password, (s) => `password = ${s}`],
  'an assignment in quotes, of many words': [password, (s) => `DB_PASSWORD='first ${s} last' next`],
  'a colon': [password, (s) => `api_key: ${s}`],
  'a key of two words': [password, (s) => `Private key: ${s}`],
  'a column': [word, (s) => `api_key\t${s}\tactive`],
  'a column of tokens': [word, (s) => `token\t${s}`],
  JSON: [password, (s) => JSON.stringify({ client_secret: s, n: 1 })],
  'JSON in JSON': [password, (s) => JSON.stringify({ body: JSON.stringify({ access_token: s }) })],
  YAML: [password, (s) => `  secret_access_key: "${s}"`],
  Python: [password, (s) => `os.environ['HF_TOKEN'] = '${s}'`],
  'a flag': [word, (s) => `run --api-token ${s} --steps 5`],
  'a flag with a sign': [word, (s) => `run --api-key=${s}`],
  'an access key': [random('ABCDEFGHIJ234567', 16, 16), (s) => `using AKIA${s} for it`],
  'a key that says what it is: OpenAI': [word, (s) => `key sk-proj-${s}ABCDEFGH`],
  'a key that says what it is: GitHub': [random(`${LETTERS}0123456789`, 36, 36), (s) => `ghp_${s}`],
  'a key that says what it is: Hugging Face': [random(LETTERS, 34, 34), (s) => `hf_${s}`],
  'a key that says what it is: Replicate': [random(`${LETTERS}0123456789`, 37, 37), (s) => `r8_${s}`],
  'a key that says what it is: WorldFlux': [word, (s) => `wbx_${s} and wfx_${s}`],
  'a JWT': [random(`${LETTERS}0123456789-_`, 20), (s) => `eyJhbGciOiJIUzI1NiJ9.${s}.${s}`],
  'a JWT without claims': [random(`${LETTERS}0123456789-_`, 20), (s) => `eyJhbGciOiJIUzI1NiJ9.e30.${s}`],
  userinfo: [password, (s) => `https://user:${s}@host/path`],
  'userinfo without a user': [password, (s) => `redis://:${s}@cache:6379/0`],
  'userinfo of a database': [password, (s) => `postgres://u:${s}@h/db?sslmode=require`],
  'userinfo in capitals': [password, (s) => `HTTPS://U:${s}@HOST/`],
  'a signed URL': [word, (s) => `https://b.s3.amazonaws.com/k?X-Amz-Date=1&X-Amz-Signature=${s}`],
  'a signed URL in capitals': [word, (s) => `HTTPS://B.EXAMPLE/K?SIG=${s}&X=1`],
  'a URL within a URL': [word, (s) => `https://h/login?next=%2Fa%3Fapi_key%3D${s}%26x%3D1`],
  'a private key': [
    base64,
    (s) => `-----BEGIN OPENSSH PRIVATE KEY-----\n${s}\n${s}\n-----END OPENSSH PRIVATE KEY-----`,
  ],
  'a private key without the lines around it': [random(`${LETTERS}0123456789+/`, 60, 64), (s) => `MIIE${s}`],
  'a long key in an error’s words': [random(`${LETTERS}0123456789`, 24), (s) => `Invalid token a1${s}.`],
};

describe.each(Object.entries(CLASSES))('%s', (_, [secret, write]) => {
  it('is taken out, whatever the secret', () => {
    fc.assert(
      fc.property(
        secret,
        fc.constantFrom('', 'step 7: ', '{"at":1} '),
        fc.constantFrom('', '\nloss=0.5'),
        (s, before, after) => {
          const cleaned = redactText(`${before}${write(s)}${after}`).text;
          expect(cleaned).not.toContain(s);
          expect(cleaned.startsWith(before)).toBe(true);
          expect(cleaned.endsWith(after)).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });
});

/** Names of values that are secrets, however they are spelled. `key` alone is too common in prose. */
const NAMES = [
  'api_key apikey api-key x-api-key OPENAI_API_KEY access_key private_key',
  'authorization auth credential credentials aws_credential cookie',
  'password db_password PGPASSWORD passwd pwd secret client_secret',
  'signature sig signed_url signed-url signedUrl',
  'token access_token refreshToken session_token',
].flatMap((names) => names.split(' '));
const WAYS: Record<string, (name: string, secret: string) => string> = {
  'an assignment': (name, s) => `${name}=${s}`,
  'an assignment with spaces': (name, s) => `${name} = ${s}`,
  'a colon': (name, s) => `${name}: ${s}`,
  'a field of JSON': (name, s) => JSON.stringify({ [name]: s, step: 7 }),
  'a parameter of a URL': (name, s) => `GET https://host/path?a=1&${name}=${s}`,
};

it.each(NAMES)('what is called %s is taken out, in every way of writing it', (name) => {
  fc.assert(
    fc.property(word, fc.constantFrom(...Object.keys(WAYS)), (secret, way) => {
      expect(redactText(`before ${WAYS[way]!(name, secret)}`).text).not.toContain(secret);
    }),
    { numRuns: 40 },
  );
});

it('what people need stays', () => {
  const numbers = fc.nat({ max: 1e9 });
  const sentences: ((n: number) => string)[] = [
    (n) => `max_tokens=${n}`,
    (n) => `tokens: ${n}, token_count: ${n}`,
    (n) => `tokens\t${n}`,
    (n) => `{"max_new_tokens": ${n}}`,
    (n) => `token\tcount\n,\t${n}`,
    (n) => `secret "hf-credentials-${n}" not found`,
    (n) => `couldn't find key HF_TOKEN_${n} in Secret team-a/keys-${n}`,
    (n) => `the token expired ${n} seconds ago`,
    (n) => `loss=${n} key=value-${n} pass: ${n}`,
  ];
  fc.assert(
    fc.property(numbers, fc.constantFrom(...sentences), (n, say) => {
      expect(redactText(say(n))).toEqual({ text: say(n), count: 0 });
    }),
  );
});
