/**
 * Stands in for `vitest` in the test files while mutants run. It collects the tests, to run them again and
 * again in one process; vitest itself would start a worker for each mutant. `expect` is vitest's own.
 */
import { format } from "node:util";
import { expect } from "vitest";

export { expect };

export type TestBody = () => unknown;

export interface GatheredTest {
  readonly id: string;
  readonly body: TestBody;
  readonly timeoutMs: number;
}

const TIMEOUT_MS = 20_000;

/** The tests, in the order in which the files define them. */
export const gathered: GatheredTest[] = [];
let path: readonly string[] = [];

/** Tests that are collected from now on belong to `file`. */
export function beginFile(file: string): void {
  path = [file];
}

export function describe(name: string, body: () => void): void {
  const outer = path;
  path = [...path, name];
  try {
    body();
  } finally {
    path = outer;
  }
}

function add(name: string, body: TestBody, timeoutMs = TIMEOUT_MS): void {
  const id = [...path, name].join(" > ");
  gathered.push({ id, body, timeoutMs });
}

function each(rows: readonly unknown[]) {
  return (name: string, body: (...row: unknown[]) => unknown): void => {
    for (const [at, row] of rows.entries()) {
      const values: readonly unknown[] = Array.isArray(row) ? row : [row];
      add(`${format(name, ...values)} #${String(at)}`, () => body(...values));
    }
  };
}

export const it = Object.assign(add, { each });
export const test = it;

/** Only what the tests use. A file's own timeout is ignored here. */
export const vi = { setConfig: (): void => undefined };

/** Not supported here: a file that uses one fails at once. */
function missing(): never {
  throw new Error("hooks are not known to the runner of mutants: see scripts/mutation");
}

export const beforeAll = missing;
export const beforeEach = missing;
export const afterAll = missing;
export const afterEach = missing;
