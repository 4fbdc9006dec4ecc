import type { DoctorLine } from '../../crds/runtime-profile.ts';
import type { ProfileRef, RuntimeIo } from '../contract.ts';
import { isRuntimeError, type RuntimeError, type RuntimeErrorKind } from '../errors.ts';
import type { Operation } from '../vendor-http.ts';
import { account, deployment, model, version } from './answers.ts';
import { API_URL, ask, endpointOf, TOKEN } from './client.ts';
import { isRefused } from './faults.ts';
import { targetOf } from './target.ts';

/** Reads only; nothing of it is billed. Throws RuntimeError when the vendor does not answer now. */
export async function doctor(profile: ProfileRef, io: RuntimeIo, altered: boolean): Promise<DoctorLine[]> {
  const lines: DoctorLine[] = [endpointLine(profile), await accountLine(profile, io)];
  // Whatever stands in the way of the account stands in the way of all that follows.
  if (lines.every(({ level }) => level !== 'error')) lines.push(await targetLine(profile, io));
  if (altered)
    lines.push({
      check: 'replicate-echo',
      level: 'info',
      message:
        'Replicate gives inputs back otherwise than they were sent. When an answer is lost, a run waits instead of being matched with its prediction.',
    });
  return lines;
}

const operation = (name: string): Operation => ({ class: 'health', name });

function endpointLine(profile: ProfileRef): DoctorLine {
  const { host } = new URL(endpointOf(profile));
  const own = endpointOf(profile) === API_URL;
  return {
    check: 'replicate-endpoint',
    level: own ? 'ok' : 'info',
    message: own
      ? `The vendor’s own API at ${host}.`
      : `The token goes to ${host}, which spec.replicate.endpoint names.`,
  };
}

async function accountLine({ spec }: ProfileRef, io: RuntimeIo): Promise<DoctorLine> {
  const check = 'replicate-account';
  try {
    const { type, username } = await ask(
      io,
      operation('account get'),
      (replicate) => replicate.accounts.current(),
      account,
    );
    const whose = /^[\w.-]{1,64}$/.test(username ?? '') ? ` of ${username}` : '';
    return {
      check,
      level: 'ok',
      message: `The token is accepted; it is ${type === 'organization' ? 'an organization’s' : 'a user’s'}${whose}.`,
    };
  } catch (error) {
    if (!isRuntimeError(error)) throw error;
    const secret = spec.credentials?.secretRef.name ?? 'of the profile';
    if (isRefused(error, 401, 403))
      return fault(check, error, `put a valid token into the key ${TOKEN} of Secret ${secret}`);
    if (isRefused(error, 404))
      return fault(check, error, 'spec.replicate.endpoint must end with the API’s version, such as /v1');
    return fault(check, error);
  }
}

async function targetLine({ spec }: ProfileRef, io: RuntimeIo): Promise<DoctorLine> {
  const target = targetOf(spec.replicate!);
  const check = `replicate-${target.kind}`;
  try {
    switch (target.kind) {
      case 'model': {
        const [owner = '', name = ''] = target.name.split('/');
        const found = await ask(io, operation('model get'), (replicate) => replicate.models.get(owner, name), model);
        if (found.is_official !== false) return { check, level: 'ok', message: `Model ${target.name} is there.` };
        const latest = /^[0-9a-f]{64}$/.exec(found.latest_version?.id ?? '')?.[0];
        const instead = latest === undefined ? 'one of its versions' : `${target.name}:${latest}`;
        return {
          check,
          level: 'error',
          message: `${target.name} is no official model and runs only by a version: set spec.replicate.version to ${instead} in the place of model.`,
        };
      }
      case 'deployment': {
        const [owner = '', name = ''] = target.name.split('/');
        await ask(io, operation('deployment get'), (replicate) => replicate.deployments.get(owner, name), deployment);
        return { check, level: 'ok', message: `Deployment ${target.name} is there.` };
      }
      case 'version': {
        if (target.model === undefined)
          return {
            check,
            level: 'info',
            message:
              'A version without its model cannot be looked up; write spec.replicate.version as owner/name:version.',
          };
        const [owner = '', name = ''] = target.model.split('/');
        await ask(
          io,
          operation('version get'),
          (replicate) => replicate.models.versions.get(owner, name, target.id),
          version,
        );
        return { check, level: 'ok', message: `The version of ${target.model} is there.` };
      }
    }
  } catch (error) {
    if (!isRuntimeError(error)) throw error;
    if (isRefused(error, 404))
      return fault(check, error, `spec.replicate.${target.kind} names what this account cannot see`);
    return fault(check, error);
  }
}

const UNANSWERED: readonly RuntimeErrorKind[] = ['retryable', 'throttled', 'budget', 'aborted'];

/** A vendor that does not answer, or asks to wait, is thrown: whether that has lasted is not seen from one call. */
function fault(check: string, error: RuntimeError, hint?: string): DoctorLine {
  if (UNANSWERED.includes(error.kind)) throw error;
  const message = hint === undefined ? `${error.message}.` : `${error.message}: ${hint}.`;
  return { check, level: 'error', message: message.slice(0, 512) };
}
