/** Calls and their answers in the binary protocol (docs/design/client-protocol.md). */
import type { Answer, CallError } from "../binary/answers.ts";
import type { CallWriter } from "../binary/calls.ts";
import { KvClientError } from "./client-error.ts";
import type { CallCondition, NodeAnswer, NodeCall, SessionPlace } from "./node-call.ts";

/**
 * Adds the call to the writer. `deadlineMs`: how long the server may work on it.
 *
 * @throws RangeError the protocol has no place for a key or value of this size
 */
export function writeCall(writer: CallWriter, id: number, call: NodeCall, deadlineMs: number): void {
  switch (call.type) {
    case "put":
      writer.put(
        id,
        call.key,
        call.value,
        conditionOf(call.condition),
        sessionOf(call.place?.()),
        deadlineMs,
      );
      return;
    case "delete":
      writer.delete(id, call.key, conditionOf(call.condition), sessionOf(call.place?.()), deadlineMs);
      return;
    case "get":
      writer.get(id, call.key, call.consistency ?? "linearizable", null, deadlineMs);
      return;
    case "open-session":
      writer.openSession(id, 0, deadlineMs);
      return;
    case "end-session":
      writer.endSession(id, call.session, deadlineMs);
  }
}

type Condition = Parameters<CallWriter["put"]>[3];
type Session = Parameters<CallWriter["put"]>[4];

function conditionOf({ ifVersion, ifAbsent }: CallCondition): Condition {
  if (ifVersion === undefined) return ifAbsent ? { type: "absent" } : null;
  // What can't be a version matches none, as over HTTP.
  const isVersion = Number.isSafeInteger(ifVersion) && ifVersion >= 1;
  return { type: "version", versions: isVersion ? [ifVersion] : [] };
}

function sessionOf(place: SessionPlace | undefined): Session {
  if (place === undefined) return null;
  return { id: place.session, sequence: place.sequence, lowestUnanswered: place.unanswered };
}

/** What the answer says of the call. null: no node would answer this call so. */
export function answerOf(call: NodeCall, answer: Answer): NodeAnswer<unknown> | null {
  switch (answer.type) {
    case "put":
      if (call.type !== "put") return null;
      return { type: "done", result: { index: answer.index, version: answer.version } };
    case "deleted":
      if (call.type !== "delete" || answer.existed === null) return null;
      return { type: "done", result: { index: answer.index, existed: answer.existed } };
    case "value":
      if (call.type !== "get") return null;
      return { type: "done", result: { value: answer.value, version: answer.version } };
    case "session":
      return call.type === "open-session" ? { type: "done", result: answer.session } : null;
    case "ended":
      return call.type === "end-session" ? { type: "done", result: null } : null;
    case "error":
      if (answer.error.status === NOT_FOUND && call.type === "get") return { type: "done", result: null };
      return failureOf(answer.error);
    case "keys":
    case "unchanged":
      return null;
  }
}

const NOT_FOUND = 404;
const CONDITION_FAILED = 412;
const NOT_LEADER = 307;
const OVERLOADED = 429;

/** The same kinds as of answers over HTTP (`http-transport.ts`): the errors have the same statuses. */
function failureOf({ status, code, outcome, message, leader }: CallError): NodeAnswer<unknown> {
  const error = new KvClientError(code, outcome, status, message);
  if (status === NOT_LEADER) return { type: "redirect", error, location: leader };
  if (status === OVERLOADED || status >= 500) return { type: "failed", error };
  return { type: status === CONDITION_FAILED ? "verdict" : "refused", error };
}
