export interface Tally {
  readonly passed: number;
  readonly failed: number;
}

/**
 * What a check prints, alone at the beginning of a line, if this machine lacks what it needs: it checked
 * nothing.
 */
export const SKIPPED = "SKIPPED:";

/** Whether a check that exited with 0 checked nothing. It counts as skipped, and never as passed. */
export function wasSkipped(output: string): boolean {
  return output.split("\n").some((line) => line.startsWith(SKIPPED));
}

/** The last line of `npm run check`. What was skipped is named only if there is something. */
export function closingLine({ passed, failed }: Tally, skipped: number): string {
  return `${passed} passed, ${failed} failed${skipped === 0 ? "" : `, ${skipped} skipped`}`;
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
