// What a node tells people about itself: the events that the option `onLog` gets, and the function by which
// the parts of a node make them.
import type { LogIndex, NodeId, Term } from "./core/position.ts";
import type { Role } from "./core/role.ts";

/**
 * - `info`: what belongs to the normal life of a node, such as a new leader.
 * - `warn`: something to look at; the node goes on.
 * - `error`: the node stops.
 */
export type LogLevel = "info" | "warn" | "error";

/**
 * The part of a node that an event is about.
 *
 * - `node`: its opening, its end, and calls of the state machine or a store that stall
 * - `election`: elections, roles and leaders
 * - `membership`: how the cluster began, and its members
 * - `storage`: the log on disk, and how fast it is
 * - `snapshot`: snapshots that are taken, sent, fetched and installed
 * - `transport`: connections to other nodes
 */
export type LogComponent = "node" | "election" | "membership" | "storage" | "snapshot" | "transport";

/**
 * The data of an event, for programs: the text says the same. An event has the fields that fit it, and may
 * have more than those that are named here.
 */
export interface LogFields {
  readonly role?: Role;
  readonly term?: Term;
  /** null: none is known. */
  readonly leader?: NodeId | null;
  /** The other node that the event is about; null: it hasn't named itself. */
  readonly peer?: NodeId | null;
  /** The address of that node. */
  readonly address?: string;
  /** Why something didn't happen, or ended. */
  readonly reason?: string;
  readonly index?: LogIndex | null;
  readonly file?: string;
  readonly bytes?: number;
  /** How long it took, or has taken so far, in milliseconds. */
  readonly ms?: number;
  readonly voters?: readonly NodeId[];
  readonly learners?: readonly NodeId[];
  readonly [name: string]: unknown;
}

/** One message of a node for people, with the same as data. It holds no commands, results or secrets. */
export interface LogEvent {
  readonly level: LogLevel;
  readonly component: LogComponent;
  /** The node that says it. */
  readonly id: NodeId;
  readonly text: string;
  readonly fields: LogFields;
}

/** By which a part of a node makes events of one component. It never throws. */
export type ComponentLog = (level: LogLevel, text: string, fields?: LogFields) => void;
