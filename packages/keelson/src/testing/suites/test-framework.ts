/** The two functions of a test framework that the suite needs, such as vitest's or `node:test`'s. */
export interface TestFramework {
  readonly describe: (name: string, body: () => void) => unknown;
  readonly it: (name: string, body: () => Promise<void>) => unknown;
}
