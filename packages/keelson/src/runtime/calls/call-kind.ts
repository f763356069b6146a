import type { Outcome } from "../../errors.ts";

/**
 * The outcome of a call whose node ends first, by its kind. It must not be "not-done" if the call may have
 * had an effect, or may still have one: the caller would make it again, and the effect would come twice (K4).
 */
export const OUTCOME_AT_NODE_END: Readonly<Record<CallKind, Outcome>> = {
  /** An entry that was proposed here. It may be on its way to a majority already. */
  proposal: "unknown",
  /** A call that the leader was asked to make. Whether it was asked yet, only the forwarder knows. */
  forwarded: "unknown",
  /** A command that is not proposed yet. */
  validation: "not-done",
  /** A read changes nothing. */
  read: "not-done",
  /** The log may be bound to the new cluster already. */
  initialize: "unknown",
  /** One of several steps may be on its way to a majority. */
  "membership-change": "unknown",
  /** The other node may have been told to take over. */
  transfer: "unknown",
  /** Its file may be durable already. */
  snapshot: "unknown",
};

/** What a call is about. Calls of one kind end the same way when the node ends. */
export type CallKind =
  | "proposal"
  | "forwarded"
  | "validation"
  | "read"
  | "initialize"
  | "membership-change"
  | "transfer"
  | "snapshot";
