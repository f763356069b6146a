/** What the checkers of duties share: see `node-duties.ts`. */
import type { AddressedMessage } from "../../../core/action.ts";
import type { NodeId } from "../../../core/position.ts";
import type { Role } from "../../../core/role.ts";
import { Violation } from "./violation.ts";

/** The node's options that decide when a duty is due. Times are in milliseconds. */
export interface DutySettings {
  readonly electionTimeoutMinMs: number;
  readonly electionTimeoutMaxMs: number;
  readonly heartbeatMs: number;
  readonly storageStallMs: number;
  readonly checkQuorum: boolean;
  /** How much the leader may send ahead of a follower's answers; null: the core's defaults. */
  readonly window: { readonly inflightMessagesMax: number; readonly inflightBytesMax: number } | null;
  /** How far each clock may drift, as a share of the time that passes. */
  readonly clockDriftMax: number;
}

/** What was true of a core before the input that is being checked. */
export interface CoreBefore {
  readonly term: number;
  readonly votedFor: NodeId | null;
  readonly role: Role;
  readonly leader: NodeId | null;
  readonly now: number;
}

/** Throws the violation unless the duty was done. `text` is only called then. */
export function duty(isDone: boolean, text: () => string): asserts isDone {
  if (!isDone) throw new Violation("DUTY", text());
}

/** Messages of one type to one node. */
export function sentTo<Type extends AddressedMessage["message"]["type"]>(
  messages: readonly AddressedMessage[],
  type: Type,
  to: string,
): Extract<AddressedMessage["message"], { type: Type }>[] {
  const found: Extract<AddressedMessage["message"], { type: Type }>[] = [];
  for (const { to: receiver, message } of messages)
    if (receiver === to && message.type === type)
      found.push(message as Extract<AddressedMessage["message"], { type: Type }>);
  return found;
}
