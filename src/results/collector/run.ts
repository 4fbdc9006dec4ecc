import { Collector, type Say } from './collector.ts';
import { readConfig } from './config.ts';

const say: Say = (message, about = {}) => {
  process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), message, ...about })}\n`);
};

export async function collect(env: NodeJS.ProcessEnv, userEnded: AbortSignal): Promise<void> {
  // Signals alone keep no process alive.
  const alive = setInterval(() => undefined, 2 ** 30);
  const { config, rank } = readConfig(env);
  const collector = await Collector.open(config, rank, say);
  try {
    say('started', { rank, attempt: config.attempt });
    if (!collector.posted) {
      await collector.watch(userEnded);
      say('collected', { outcome: await collector.collect() });
      return;
    }
    // The result was wanted early, and this container was started again because the user's still runs. To exit once is
    // needed, or a pod whose SIGTERM was missed would stay for its whole grace period; to exit again would be a loop.
    await new Promise<void>((resolve) => {
      if (userEnded.aborted) resolve();
      else userEnded.addEventListener('abort', () => resolve(), { once: true });
    });
  } finally {
    collector.close();
    clearInterval(alive);
  }
}
