/** The two functions of a test framework that the suite needs, such as vitest's or `node:test`'s. */
export interface TestFramework {
  /** Makes a group of tests; `body` defines them. */
  readonly describe: (name: string, body: () => void) => unknown;
  /** Makes a test, which fails if its promise rejects. */
  readonly it: (name: string, body: () => Promise<void>) => unknown;
}
