/** A step that the model doesn't allow: which rule of the paper it breaks, and what was seen. */
export class Forbidden extends Error {
  override readonly name = "Forbidden";
}

/** Throws `Forbidden` unless the rule holds. `text` names the rule and is only called then. */
export function rule(holds: boolean, text: () => string): asserts holds {
  if (!holds) throw new Forbidden(text());
}
