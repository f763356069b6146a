/** An invariant that did not hold: its code as the checkers name it, and what was seen. */
export class Violation extends Error {
  override readonly name = "Violation";
  readonly code: string;

  constructor(code: string, text: string) {
    super(`${code}: ${text}`);
    this.code = code;
  }
}

/** States a fact about the simulated cluster; `text` is only made when it does not hold. */
export function assertInvariant(holds: boolean, code: string, text: () => string): asserts holds {
  if (!holds) throw new Violation(code, text());
}
