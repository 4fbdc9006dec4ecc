import { describe as suite, expect, test } from 'vitest';
import { describe, layerOf, total } from './test-report.ts';

const report = (o: { passed: number; failed: number; files?: object[] }): string =>
  JSON.stringify({ numPassedTests: o.passed, numFailedTests: o.failed, testResults: o.files ?? [] });

suite('the summary of a test run', () => {
  test('adds up the layers', () => {
    const layers = [
      layerOf('unit', { seconds: 1, exitCode: 0, report: report({ passed: 3, failed: 0 }) }),
      layerOf('e2e', { seconds: 2, exitCode: 1, report: report({ passed: 4, failed: 2 }) }),
    ];
    expect(total(layers)).toEqual({ passed: 7, failed: 2 });
  });

  test('counts a file that could not be loaded', () => {
    const files = [{ status: 'failed', assertionResults: [] }];
    const layer = layerOf('unit', { seconds: 1, exitCode: 1, report: report({ passed: 3, failed: 0, files }) });
    expect(layer).toMatchObject({ passed: 3, failed: 1 });
  });

  test('counts a run that died before it could report', () => {
    expect(layerOf('unit', { seconds: 1, exitCode: 1, report: undefined })).toMatchObject({ passed: 0, failed: 1 });
  });

  test('counts a run whose tests passed and which failed all the same', () => {
    const layer = layerOf('unit', { seconds: 1, exitCode: 1, report: report({ passed: 3, failed: 0 }) });
    expect(layer.failed).toBe(1);
  });

  test('does not blame the host for tests that a failed hook skipped', () => {
    const files = [{ status: 'failed', assertionResults: [{ status: 'skipped', fullName: 'never reached' }] }];
    const layer = layerOf('e2e', { seconds: 1, exitCode: 1, report: report({ passed: 0, failed: 0, files }) });
    expect(layer).toMatchObject({ failed: 1, skipped: [] });
  });

  test('names what this host could not run', () => {
    const files = [{ status: 'passed', assertionResults: [{ status: 'skipped', fullName: 'needs Python' }] }];
    const unit = layerOf('unit', { seconds: 1, exitCode: 0, report: report({ passed: 3, failed: 0, files }) });
    const e2e = { name: 'e2e', seconds: 0, passed: 0, failed: 0, skipped: [], reason: 'a node needs root' };
    const lines = describe([unit, e2e]);
    expect(lines).toContain('not run on this host: unit: needs Python');
    expect(lines).toContain('not run on this host: e2e: a node needs root');
  });

  test('ends with what failed, and the first words of why', () => {
    const assertionResults = [
      {
        status: 'failed',
        fullName: 'a run ends',
        failureMessages: ['AssertionError: 1 is not 2\n  at x\n  at y\n  at z'],
      },
    ];
    const files = [{ status: 'failed', assertionResults }];
    const layer = layerOf('unit', { seconds: 1, exitCode: 1, report: report({ passed: 3, failed: 1, files }) });
    expect(describe([layer])).toContain('failed: unit: a run ends: AssertionError: 1 is not 2   at x   at y');
  });
});
