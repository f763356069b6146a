/**
 * What a state may be: anything but `undefined`, which means "impossible". States are never changed in place.
 */
export type ModelState = string | number | boolean | object | null;

/**
 * What an object does when its operations are executed one after another: the specification against which a
 * history is checked. All methods are pure.
 */
export interface Model<State extends ModelState, Input, Output> {
  readonly initial: State;

  /**
   * The part of the state that the operation concerns. Each part is checked on its own, which makes long
   * histories possible. So no operation may see or change any other part.
   */
  keyOf(input: Input): string;

  /**
   * The state after the operation, or `undefined` if the operation can't return `output` in this state. If
   * `output` is undefined, the outcome is unknown: any output is accepted, and the operation is possible in
   * every state.
   */
  step(state: State, input: Input, output: Output | undefined): State | undefined;

  /** A text that is equal for two states if and only if no operation can tell them apart. */
  fingerprint(state: State): string;

  /**
   * Whether the operation changes nothing if it returns this output; for example a read, or a write that was
   * refused.
   */
  isEffectless(input: Input, output: Output | undefined): boolean;

  /**
   * Whether operations of unknown outcome right before this one can be left out, because it overwrites what
   * they did: wherever it is possible after them, it must be possible without them too, and so must whatever
   * is possible after it. Effects of operations that returned need not be overwritten. Returning `false` is
   * always correct, but slower.
   */
  overwrites(input: Input, output: Output | undefined): boolean;

  /** The operation in a few words: `put x 5`. */
  describe(input: Input): string;

  /** What the operation returned, in the same words as `expected`: `5`. */
  describeOutput(input: Input, output: Output): string;

  /** What the operation returns in this state, in a few words. */
  expected(state: State, input: Input): string;
}
