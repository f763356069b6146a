/** What a state may be: anything but `undefined`, which means "impossible". States are never changed in place. */
export type ModelState = string | number | boolean | object | null;

/**
 * What one object does when its operations come one after another: the specification that a
 * history is held against. All methods are pure.
 */
export interface Model<State extends ModelState, Input, Output> {
  readonly initial: State;

  /**
   * The part of the state that the operation concerns. Parts are checked apart, which is what makes
   * long histories possible, so no operation may see or change another part than its own.
   */
  keyOf(input: Input): string;

  /**
   * The state after the operation, or `undefined` if it cannot return `output` in this state.
   * Without an output (it is unknown) any would do, and it is possible in every state.
   */
  step(state: State, input: Input, output: Output | undefined): State | undefined;

  /** Equal for two states if and only if no operation can tell them apart. */
  fingerprint(state: State): string;

  /** With this output, or this unknown one, the operation changes nothing: such as a read, or a write that was refused. */
  isEffectless(input: Input, output: Output | undefined): boolean;

  /**
   * Whether it may come, and the state after it, depend in no way on operations of unknown outcome
   * right before it: it writes over whatever they did. `false` is always right, only slower.
   */
  overwrites(input: Input, output: Output | undefined): boolean;

  /** The operation in a few words: `put x 5`. */
  describe(input: Input): string;

  /** What it returned, in the same words as `expected`: `5`. */
  describeOutput(input: Input, output: Output): string;

  /** What the operation returns in this state, in a few words. */
  expected(state: State, input: Input): string;
}
