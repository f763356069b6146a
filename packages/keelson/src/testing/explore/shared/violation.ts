/** An invariant that does not hold, or a transition that cannot be. */
export class Violation extends Error {
  override readonly name = "Violation";
}

/** States an invariant; the sentence begins with its code and is made only when it breaks. */
export function invariant(holds: boolean, sentence: () => string): asserts holds {
  if (!holds) throw new Violation(sentence());
}
