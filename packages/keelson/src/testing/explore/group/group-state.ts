// A state of the whole group as a list of integers, the events that lead from one to the next, and both as
// numbers.
import type { HostEvent } from "../host/host-state.ts";

/**
 * A state of the whole group: the number of its history, the counts of limited events in two numbers, the
 * number of each host by place, then the numbers of the messages in transit, ascending, each once.
 */
export type GroupState = readonly number[];
export const HISTORY = 0;
export const COUNTS = 1;
export const HOSTS = 3;

/**
 * How many bits each kind of event has in the state's counts, if the number of such events is limited. The
 * constants below are these kinds.
 */
const COUNT_BITS = 4;
/** How many counts one number holds, so that it stays below 2^31. */
const COUNTS_IN_ONE = 7;
export const PROPOSALS = 0;
export const CRASHES = 1;
export const DUPLICATES = 2;
export const HEARTBEATS = 3;
export const CHANGES = 4;
export const SNAPSHOTS = 5;
export const READS = 6;
export const TRANSFERS = 7;
/** Requests for reads that arrived. */
export const READ_ARRIVALS = 8;

const numberOfCount = (kind: number): number => (kind < COUNTS_IN_ONE ? COUNTS : COUNTS + 1);
const shiftOfCount = (kind: number): number => (kind % COUNTS_IN_ONE) * COUNT_BITS;

/** How many events of a kind led to this state. */
export function countOf(state: GroupState, kind: number): number {
  return ((state[numberOfCount(kind)] ?? 0) >> shiftOfCount(kind)) & ((1 << COUNT_BITS) - 1);
}

/** Counts one more event of this kind; null: of a kind that isn't limited. */
export function addCount(state: number[], kind: number | null): void {
  if (kind === null) return;
  const at = numberOfCount(kind);
  state[at] = (state[at] ?? 0) + (1 << shiftOfCount(kind));
}

/** The kind as which a host event is counted; null: its number isn't limited. */
export function countedAs(type: HostEvent["type"]): number | null {
  switch (type) {
    case "propose":
      return PROPOSALS;
    case "crash":
    case "install-crash":
      return CRASHES;
    case "heartbeat":
    case "unanswered-heartbeat":
      return HEARTBEATS;
    case "change":
      return CHANGES;
    case "snapshot":
      return SNAPSHOTS;
    case "read":
      return READS;
    case "transfer":
      return TRANSFERS;
    default:
      return null;
  }
}

/**
 * One event of the group; `event` and `message` are numbers of the `StepCache`. `tick`: all clocks advance.
 */
export type GroupEvent =
  | { readonly type: "tick" }
  | { readonly type: "host"; readonly place: number; readonly event: number }
  | { readonly type: "deliver" | "duplicate" | "drop"; readonly message: number };

const EVENT_TYPES = ["host", "deliver", "duplicate", "drop", "tick"] as const;

/** An event as one number. */
export function codeOf(event: GroupEvent): number {
  const value =
    event.type === "tick" ? 0 : event.type === "host" ? event.event * 8 + event.place : event.message;
  return value * EVENT_TYPES.length + EVENT_TYPES.indexOf(event.type);
}

/** The event with this number. */
export function eventOf(code: number): GroupEvent {
  const type = EVENT_TYPES[code % EVENT_TYPES.length] ?? "host";
  const value = Math.floor(code / EVENT_TYPES.length);
  if (type === "tick") return { type };
  return type === "host" ? { type, place: value % 8, event: value >> 3 } : { type, message: value };
}

/** Whether `a` comes before `b`, compared number by number; both have the same length. */
export function isLess(a: GroupState, b: GroupState): boolean {
  for (let at = 0; at < a.length; at++) {
    const difference = (a[at] ?? 0) - (b[at] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

/** Two 32-bit hashes of a state that are independent of each other. */
export function hashOf(state: GroupState): [number, number] {
  let high = 0x2545f491;
  let low = 0x9e3779b9;
  for (let at = 0; at < state.length; at++) {
    const value = state[at] ?? 0;
    high = Math.imul(high ^ value, 0xcc9e2d51);
    high = Math.imul((high << 15) | (high >>> 17), 0x1b873593);
    low = Math.imul(low ^ (value + 0x7ed55d16), 0x85ebca6b);
    low ^= low >>> 13;
    low = Math.imul(low, 0xc2b2ae35) ^ (low >>> 16);
  }
  high ^= high >>> 16;
  high = Math.imul(high, 0x85ebca6b);
  return [(high ^ (high >>> 13)) >>> 0, low >>> 0];
}
