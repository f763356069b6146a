// One node of an explored group as a value: the core's image, the entries, the disk, and the messages.
import type { HardState, InstallSnapshot, Message, NodeId, NodeImage } from "../../../core/index.ts";
import type { ModelState } from "../../model/index.ts";
import type { Entry, Payload } from "./entry.ts";

/**
 * A message that was sent, with the entries it carries; with a snapshot, all entries that the snapshot
 * covers.
 */
export interface MessageInTransit {
  readonly to: NodeId;
  readonly message: Message;
  readonly entries: readonly Entry[];
}

/** What survives a crash. */
export interface Disk {
  readonly hardState: HardState;
  /** All entries, also those that a snapshot covers: they stand for the state machine's state. */
  readonly log: readonly Entry[];
  /** The last index that the node's snapshot covers; 0: there is no snapshot. */
  readonly covered: number;
}

/** A write that is not durable yet, and the messages that must wait until it is. */
export interface Write {
  readonly persistId: number;
  readonly hardState: HardState | null;
  readonly truncateFrom: number | null;
  /** The index of the first of `entries`. */
  readonly from: number;
  readonly entries: readonly Entry[];
  readonly messagesAfterPersist: readonly MessageInTransit[];
}

/** A node with everything its driver keeps: between two events it is only this value. */
export interface Host {
  readonly id: NodeId;
  readonly node: NodeImage;
  /** The entries of the core's log, durable or not, also those that a snapshot covers. */
  readonly memory: readonly Entry[];
  readonly disk: Disk;
  /** The writes that are not durable yet, oldest first. */
  readonly writes: readonly Write[];
  /** The snapshot that the core asked to install, with the entries it covers; null: none. */
  readonly wanted: { readonly offer: InstallSnapshot; readonly entries: readonly Entry[] } | null;
  /** Whether the core has had an input since its actions were last taken. */
  readonly hasUndrainedInput: boolean;
  /** The reads of this node's clients that are not answered. */
  readonly reads: readonly AskedRead[];
  /** What the reference model knows of this node. */
  readonly model: ModelState;
}

/** A client's read that is not answered. */
export interface AskedRead {
  /** The id that the core gave to the read. */
  readonly id: number;
  /** How many entries were committed anywhere when it was asked for: its answer must not be lower. */
  readonly committed: number;
}

/** A node's role with the state of that role. */
export type RoleImage = NodeImage["role"];

/** What a leader keeps about its followers, by node id. */
export type ProgressList = Extract<RoleImage, { type: "leader" }>["progress"];

/** What a leader keeps about each follower; empty for other roles. */
export function progressOf({ role }: NodeImage): ProgressList {
  return role.type === "leader" ? role.progress : [];
}

/** What can happen to one node. */
export type HostEvent =
  /** The election timeout passes. */
  | { readonly type: "timeout" }
  /** A leader's heartbeat is due. */
  | { readonly type: "heartbeat" }
  /**
   * A leader's heartbeat is due, and no follower has answered for so long that the leader sends probes only.
   */
  | { readonly type: "unanswered-heartbeat" }
  /** Check-quorum: a leader has not heard from a majority for an election timeout. */
  | { readonly type: "step-down" }
  /** The shortest election timeout has passed since the node heard its leader. */
  | { readonly type: "lease-ends" }
  | { readonly type: "propose"; readonly payload: Payload }
  | { readonly type: "deliver"; readonly message: MessageInTransit }
  /** The leader is asked for a change of membership; `target` is the configuration's place in the bounds. */
  | { readonly type: "change"; readonly target: number }
  /** The node takes a snapshot, and compacts its log up to it. */
  | { readonly type: "snapshot" }
  /** The fetched snapshot becomes durable, and the core is told. */
  | { readonly type: "install" }
  /** The fetched snapshot becomes durable, but the node crashes before the core is told. */
  | { readonly type: "install-crash" }
  /** The oldest write becomes durable, and the core is told. */
  | { readonly type: "persist" }
  /** A client asks for a linearizable read, when so many entries are committed anywhere. */
  | { readonly type: "read"; readonly committed: number }
  /** The leader is asked to transfer its leadership to the node at this place. */
  | { readonly type: "transfer"; readonly place: number }
  /** The time limit of a transfer of leadership is over: the leader gives the transfer up. */
  | { readonly type: "transfer-expires" }
  /** The shortest election timeout passes on all clocks. */
  | { readonly type: "tick" }
  /** The driver takes the core's actions. */
  | { readonly type: "drain" }
  /**
   * The node loses everything but its disk and the first `steps` steps of its unfinished writes; then it
   * restarts.
   */
  | { readonly type: "crash"; readonly steps: number };

/** The result of an event. */
export interface Step {
  readonly host: Host;
  /** Messages that were sent, in order, each with the disk as it was at that moment. */
  readonly sent: readonly SentMessage[];
}

/**
 * A message, and the sender's disk when the message was sent: it must not assert more than the disk holds.
 */
export interface SentMessage {
  readonly message: MessageInTransit;
  readonly disk: Disk;
}
