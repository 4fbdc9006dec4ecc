import { isKubeError } from './errors.ts';

export function ignoreGone(error: unknown): void {
  // Deleted, or replaced by another object of the same name: either way what was meant is gone.
  if (!isKubeError(error, 'notFound', 'conflict')) throw error;
}
