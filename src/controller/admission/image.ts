import type { LocalProfile } from '../../crds/runtime-profile.ts';
import type { Refusal } from './refusal.ts';

/** `*` stands for any characters; everything else for itself. */
function matches(pattern: string, image: string): boolean {
  const parts = pattern.split('*');
  if (parts.length === 1) return pattern === image;
  const first = parts[0]!;
  const last = parts.at(-1)!;
  if (!image.startsWith(first) || image.length < first.length + last.length || !image.endsWith(last)) return false;
  // Left to right with the earliest match of each piece: linear, where a regular expression could backtrack.
  let at = first.length;
  const end = image.length - last.length;
  for (const part of parts.slice(1, -1)) {
    const found = image.indexOf(part, at);
    if (found === -1 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}

export function isRefusedImage(
  image: string,
  allowed: NonNullable<LocalProfile['overrides']>['image'],
  profileName: string,
): Refusal | undefined {
  if (allowed === undefined) {
    return {
      reason: 'OverrideNotAllowed',
      message: `spec.image: profile ${profileName} does not let a run choose its image; leave the field out`,
    };
  }
  if (!allowed.allowed.some((pattern) => matches(pattern, image))) {
    return {
      reason: 'OverrideNotAllowed',
      message: `spec.image: ${image} matches none of the images that profile ${profileName} allows (${allowed.allowed.join(', ')})`,
    };
  }
  if (allowed.requireDigest && !/@sha256:[0-9a-f]{64}$/.test(image)) {
    return {
      reason: 'OverrideNotAllowed',
      message: `spec.image: profile ${profileName} asks for a digest; write ${image.split('@')[0]}@sha256:…`,
    };
  }
  return undefined;
}
