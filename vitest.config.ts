import { defineConfig } from 'vitest/config';

/** Layers: `unit` needs nothing, `integration` a real API server, `e2e` a real node with Pods, `peers` other projects' controllers on one. */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          // Nothing here is timed: a machine that does three things at once is no failure.
          testTimeout: 60_000,
          include: [
            'src/**/*.test.ts',
            'images/**/*.test.ts',
            'test/cluster/**/*.test.ts',
            'test/faults/**/*.test.ts',
            'test/conformance/**/*.test.ts',
            'scripts/**/*.test.ts',
          ],
        },
      },
      {
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          globalSetup: 'test/integration/setup.ts',
          testTimeout: 120_000,
          hookTimeout: 180_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          globalSetup: 'test/e2e/setup.ts',
          testTimeout: 300_000,
          hookTimeout: 300_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'peers',
          include: ['test/peers/**/*.test.ts'],
          globalSetup: 'test/e2e/setup.ts',
          testTimeout: 300_000,
          // The first run on a host builds the other project's controller.
          hookTimeout: 45 * 60_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
