// The events of a host as numbers, so that a step can be looked up by the numbers of host and event.
import type { HostEvent, MessageInTransit } from "../host/host-state.ts";

export const TIMEOUT = 0;
export const HEARTBEAT = 1;
export const STEP_DOWN = 2;
export const LEASE_ENDS = 3;
export const PERSIST = 4;
export const DRAIN = 5;
export const UNANSWERED_HEARTBEAT = 6;
export const SNAPSHOT = 7;
// These events have a number of their own, which is added: the proposal, the steps that a crash keeps, the
// configuration, how much is committed, the target's place, the message. Messages come last because their
// number has no limit.
const PROPOSE = 8;
const CRASH = 32;
const CHANGE = 96;
export const INSTALL = 112;
export const INSTALL_CRASH = 113;
const READ = 128;
const TRANSFER = 192;
export const TRANSFER_EXPIRES = 200;
export const TICK = 201;
const DELIVER = 256;

export const isHeartbeat = (event: number): boolean => event === HEARTBEAT || event === UNANSWERED_HEARTBEAT;
export const propose = (payload: number): number => PROPOSE + payload;
export const crash = (steps: number): number => CRASH + steps;
export const change = (target: number): number => CHANGE + target;
export const read = (committed: number): number => READ + committed;
export const transfer = (place: number): number => TRANSFER + place;
export const deliver = (message: number): number => DELIVER + message;

/** The event with this number; `messageOf` finds a message by its own. */
export function hostEventOf(event: number, messageOf: (message: number) => MessageInTransit): HostEvent {
  if (event >= DELIVER) return { type: "deliver", message: messageOf(event - DELIVER) };
  if (event === TICK) return { type: "tick" };
  if (event === TRANSFER_EXPIRES) return { type: "transfer-expires" };
  if (event >= TRANSFER) return { type: "transfer", place: event - TRANSFER };
  if (event >= READ) return { type: "read", committed: event - READ };
  if (event === INSTALL) return { type: "install" };
  if (event === INSTALL_CRASH) return { type: "install-crash" };
  if (event >= CHANGE) return { type: "change", target: event - CHANGE };
  if (event >= CRASH) return { type: "crash", steps: event - CRASH };
  if (event >= PROPOSE) return { type: "propose", payload: event - PROPOSE };
  switch (event) {
    case TIMEOUT:
      return { type: "timeout" };
    case HEARTBEAT:
      return { type: "heartbeat" };
    case UNANSWERED_HEARTBEAT:
      return { type: "unanswered-heartbeat" };
    case STEP_DOWN:
      return { type: "step-down" };
    case LEASE_ENDS:
      return { type: "lease-ends" };
    case PERSIST:
      return { type: "persist" };
    case SNAPSHOT:
      return { type: "snapshot" };
    default:
      return { type: "drain" };
  }
}
