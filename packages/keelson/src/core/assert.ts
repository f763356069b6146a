/**
 * Thrown when the core sees what Raft rules out: two leaders of one term, a truncation of committed entries,
 * the completion of a write that was never requested. The node must stop, and nothing may repair its state:
 * to carry on with it is what loses data.
 */
export class ProtocolViolation extends Error {
  override readonly name = "ProtocolViolation";
}

/** Throws `ProtocolViolation` with `sentence` unless `condition` holds. Active in production too. */
export function assert(condition: boolean, sentence: string): asserts condition {
  if (!condition) throw new ProtocolViolation(sentence);
}
