import { z } from 'zod';

/** Pieces of schema that both kinds use. Every string and list is bounded: CEL rules are priced by their worst case. */

export const GROUP = 'worldflux.ai';
export const VERSION = 'v1alpha1';
export const API_VERSION = `${GROUP}/${VERSION}`;

/** A CEL rule for `x-kubernetes-validations`; the message tells the user what would be right. */
export interface CelRule {
  rule: string;
  message: string;
  fieldPath?: string;
  reason?: 'FieldValueInvalid' | 'FieldValueForbidden' | 'FieldValueRequired' | 'FieldValueDuplicate';
}

/** Attaches CEL rules to a schema; they reach the CRD and nothing else. */
export function withRules<T extends z.ZodType>(schema: T, rules: CelRule[]): T {
  return schema.meta({ ...schema.meta(), 'x-kubernetes-validations': rules }) as T;
}

/** A list whose items are told apart by `keys`, so that server-side apply merges it item by item. */
export function mapList<T extends z.ZodType>(schema: T, keys: string[]): T {
  return schema.meta({
    ...schema.meta(),
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': keys,
  }) as T;
}

/** A value that is replaced as a whole by server-side apply. */
export function atomic<T extends z.ZodType>(schema: T, kind: 'list' | 'map'): T {
  return schema.meta({ ...schema.meta(), [`x-kubernetes-${kind}-type`]: 'atomic' }) as T;
}

const DNS_LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const DNS_SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const QUALIFIED_NAME =
  /^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
/** A Kubernetes quantity without exponents or milli-bytes: what people write. */
const QUANTITY = /^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$/;
const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const MONEY = /^[0-9]{1,9}(\.[0-9]{1,6})?$/;

export const dnsLabel = () => z.string().min(1).max(63).regex(DNS_LABEL);
export const objectName = () => z.string().min(1).max(253).regex(DNS_SUBDOMAIN);
export const qualifiedName = () => z.string().min(1).max(317).regex(QUALIFIED_NAME);
export const labelValue = () =>
  z
    .string()
    .max(63)
    .regex(/^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/);
export const quantity = () => z.string().min(1).max(32).regex(QUANTITY);
export const envName = () => z.string().min(1).max(128).regex(ENV_NAME);
/** US dollars as a decimal string: floats do not add up. */
export const money = () => z.string().min(1).max(16).regex(MONEY);
export const seconds = (max = 31_536_000) => z.int32().min(1).max(max);
export const imageReference = () => z.string().min(1).max(512);
export const absolutePath = () =>
  z
    .string()
    .min(1)
    .max(1024)
    .regex(/^\/[^:]*$/);
/** A path below a folder: no leading slash, no `..` segment, no backslash. */
export const relativePath = () =>
  z
    .string()
    .min(1)
    .max(512)
    .regex(/^[^/\\]([^\\]*)$/);

const noDotDot = "!self.split('/').exists(p, p == '..')";
/** {@link relativePath} with the `..` rule that RE2 cannot say. */
export const containedPath = (field: string) =>
  withRules(
    relativePath().refine((p) => !p.split('/').includes('..')),
    [{ rule: noDotDot, message: `${field} must stay below its folder: remove the ".." segments` }],
  );

export const nodeSelector = () => z.record(z.string().max(317), labelValue()).meta({ maxProperties: 32 });

export const resourceList = () => z.record(z.string().max(317), quantity()).meta({ maxProperties: 16 });

export const toleration = () =>
  z.strictObject({
    key: z.string().max(317).optional(),
    operator: z.enum(['Exists', 'Equal']).optional(),
    value: z.string().max(63).optional(),
    effect: z.enum(['NoSchedule', 'PreferNoSchedule', 'NoExecute']).optional(),
    tolerationSeconds: z.int32().min(0).optional(),
  });

export const keyRef = () => z.strictObject({ name: objectName(), key: z.string().min(1).max(253) });

/** `metav1.Condition`. */
export const condition = () =>
  z.strictObject({
    type: z.string().min(1).max(64),
    status: z.enum(['True', 'False', 'Unknown']),
    reason: z.string().min(1).max(128),
    message: z.string().max(2048).optional(),
    lastTransitionTime: z.string().meta({ format: 'date-time' }),
    observedGeneration: z.int32().min(0).optional(),
  });
export type Condition = z.infer<ReturnType<typeof condition>>;

export const conditions = () => mapList(z.array(condition()).max(12), ['type']);
