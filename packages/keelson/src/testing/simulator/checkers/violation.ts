/** An invariant that did not hold: its code in docs/design/pitfalls.md, and what was seen. */
export class Violation extends Error {
  override readonly name = "Violation";
  readonly code: string;

  constructor(code: string, text: string) {
    super(`${code}: ${text}`);
    this.code = code;
  }
}

/** Throws a violation unless the invariant holds. `text` is only called then. */
export function assertInvariant(holds: boolean, code: string, text: () => string): asserts holds {
  if (!holds) throw new Violation(code, text());
}
