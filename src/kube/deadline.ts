/** A signal that ends a call, and the time that is left to it. Dispose of it when the call is over. */
export interface Deadline extends Disposable {
  readonly signal: AbortSignal;
  /** Milliseconds, on a monotonic clock. */
  remainingMs(): number;
}

/**
 * Aborts after `ms` (with a `TimeoutError`) or when `parent` does. In place of AbortSignal.any and AbortSignal.timeout,
 * which leave a listener or a timer behind for each of a long-lived signal's many short calls.
 */
export function deadline(ms: number, parent?: AbortSignal): Deadline {
  const controller = new AbortController();
  const end = performance.now() + ms;
  const expire = () => controller.abort(new DOMException(`no answer in ${ms / 1000} s`, 'TimeoutError'));
  const follow = () => controller.abort(parent?.reason);
  const timer = setTimeout(expire, ms);
  if (parent?.aborted === true) follow();
  else parent?.addEventListener('abort', follow, { once: true });
  return {
    signal: controller.signal,
    remainingMs: () => end - performance.now(),
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      parent?.removeEventListener('abort', follow);
    },
  };
}
