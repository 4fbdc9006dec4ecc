/**
 * The sidecar's life. The kubelet sends SIGTERM when the user's container has ended, and gives what is left of the
 * pod's grace period. It always ends well: results that could not be delivered are said in words, not by an exit code.
 */
export async function main(): Promise<void> {
  const userEnded = new AbortController();
  // Before anything else is loaded: a SIGTERM that comes earlier is lost, because the kernel gives process 1 no signal
  // that it does not handle. The operator then says collectNow, as it sees that the user's container has ended.
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => userEnded.abort());
  const { collect } = await import('./run.ts');
  await collect(process.env, userEnded.signal);
}
