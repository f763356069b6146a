import type { ForwardedCall } from "../../codec/frame-runtime-message.ts";
import type { LogIndex } from "../../core/position.ts";
import type { CallOptions } from "./call.ts";

/** A call that only the leader can serve, and that any node may be asked for. */
export interface ForwardableCall<T> {
  readonly request: ForwardedCall;
  /** The encoded command; empty for a call without one. */
  readonly payload: Uint8Array;
  /**
   * Whether the call may be made again after an attempt whose outcome is unknown: a second one adds nothing
   * to what the first one did. False for a command outside of a session, which would take effect twice (K1).
   */
  readonly isRepeatable: boolean;
  /**
   * Whether a request that arrives late, after its call has ended, could undo what was done since. Then the
   * call isn't made again at the leader of the same term, which would still execute that request.
   */
  readonly mayUndo?: boolean;
  /** Why this node doesn't forward the call to another node that leads; null: it does. */
  readonly refusal: string | null;
  /** Makes the caller's result of a successful reply. */
  readonly decodeReply: (index: LogIndex, payload: Uint8Array) => T;
  /** Runs the call on this node, for the case that this node leads by now. */
  readonly runHere: (options: CallOptions) => Promise<T>;
}

/** Makes calls at whichever node leads. */
export interface LeaderCalls {
  /**
   * Waits until a leader is known, within the call's time limit. Throws, or rejects, if the call is refused.
   */
  forward<T>(forwardable: ForwardableCall<T>, options: CallOptions): Promise<T>;
}
