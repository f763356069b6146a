export interface Tally {
  readonly passed: number;
  readonly failed: number;
}

/** The parts of vitest's JSON report that are counted. */
export interface TestReport {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numFailedTestSuites: number;
}

/**
 * Counts the tests of a run. A run that failed counts as one failure though no test did: a file that
 * could not be loaded, an error that nobody caught, or no report at all (null).
 */
export function tallyTests(report: TestReport | null, exitCode: number): Tally {
  if (report === null) return { passed: 0, failed: 1 };
  const { numPassedTests: passed, numFailedTests: failed, numFailedTestSuites } = report;
  const failedOtherwise = exitCode !== 0 || passed === 0 || numFailedTestSuites > 0;
  return { passed, failed: failed === 0 && failedOtherwise ? 1 : failed };
}
