// Encodes and decodes what `apply` returns.
import { copyBytes } from "../../codec/copy-bytes.ts";
import { assert } from "../../core/assert.ts";
import { StateMachineFailure, type ResultCodec } from "./state-machine.ts";

/** A result as bytes, or why it has none. */
export type EncodedResult =
  | { readonly type: "encoded"; readonly bytes: Uint8Array }
  | { readonly type: "failed"; readonly reason: unknown };

/**
 * Runs the state machine's result codec.
 *
 * A result is encoded right after its command was applied: it may be a part of the state, which the next
 * command changes. What callers get is decoded from the bytes. So a caller on the leader gets the same value
 * as a caller on any other node, and can't change the leader's state through it.
 */
export class ResultEncoder<Result> {
  readonly #codec: ResultCodec<Result>;

  constructor(codec: ResultCodec<Result>) {
    this.#codec = codec;
  }

  /**
   * Whether the codec has the methods for results. Without them results stay on the node that applied the
   * command.
   */
  get isAvailable(): boolean {
    return this.#codec.encodeResult !== undefined && this.#codec.decodeResult !== undefined;
  }

  /**
   * The result as bytes, or why it has none. Which of the two must be the same on every node, so a failure of
   * this node alone is thrown as `StateMachineFailure`, and stops the node.
   */
  encode(result: Result): EncodedResult {
    const codec = this.#codec;
    assert(codec.encodeResult !== undefined, "results are encoded only with encodeResult");
    try {
      // Copied: the codec may encode the next result into the same buffer.
      const bytes = copyBytes(codec.encodeResult(result), "what encodeResult returns");
      return { type: "encoded", bytes };
    } catch (error) {
      if (error instanceof StateMachineFailure) throw error;
      return { type: "failed", reason: error };
    }
  }

  /** Throws what the codec throws. */
  decode(bytes: Uint8Array): Result {
    const codec = this.#codec;
    assert(codec.decodeResult !== undefined, "results are decoded only with decodeResult");
    // The result may be a view of the bytes, and its caller may change it: the kept answer must stay as it
    // is.
    return codec.decodeResult(new Uint8Array(bytes));
  }
}
