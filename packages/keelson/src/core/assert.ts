/**
 * Thrown when the core sees what Raft rules out: two leaders of one term, a truncation of
 * committed entries, a completion of a write that was never ordered. The node must stop;
 * its state is never "repaired", because carrying on is what loses data.
 */
export class ProtocolViolation extends Error {
  override readonly name = "ProtocolViolation";
}

/** States a fact that must hold, in production too. */
export function assert(condition: boolean, sentence: string): asserts condition {
  if (!condition) throw new ProtocolViolation(sentence);
}
