/** A violated invariant, or an impossible transition. */
export class Violation extends Error {
  override readonly name = "Violation";
}

/** Throws a `Violation` unless the invariant holds. `sentence` begins with the invariant's code. */
export function invariant(holds: boolean, sentence: () => string): asserts holds {
  if (!holds) throw new Violation(sentence());
}
