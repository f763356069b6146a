/**
 * Executes one call and writes its answer. The rules are those of HTTP: both call `KeyOperations`, and both
 * tell failures by `operations/failures.ts`.
 */
import type { CallOptions, Staleness } from "keelson";
import { BINARY_RIGHTS, UNKNOWN_ROUTE_RIGHT } from "../access/rights.ts";
import type { ConnectionToken } from "../access/connection-token.ts";
import { bytesOfKeys, type AnswerWriter } from "../binary/answers.ts";
import type { Call, DeleteCall, GetCall, ListCall, PutCall } from "../binary/calls.ts";
import type { Consistency } from "../binary/wire.ts";
import type { Serving } from "../node/kv-node.ts";
import { BadRequestError, checkKey, checkListLimit, checkSession } from "../operations/checks.ts";
import {
  conditionFailure,
  failure,
  failureOf,
  NO_ROOM,
  NOT_FOUND,
  STARTING,
  VALUE_TOO_LARGE,
  type Failure,
} from "../operations/failures.ts";
import { LIST_LIMIT_DEFAULT } from "../operations/key-operations.ts";
import { valueProblem, type Condition } from "../store/commands.ts";
import { ReadTurns, type ValueAccount } from "../shared/read-gate.ts";
import type { Listing } from "../store/state-machine.ts";
import type { Versioned } from "../store/state-layout.ts";
import type { AnswerRoom } from "./answer-room.ts";
import type { BinaryHost } from "./binary-host.ts";

/**
 * Values and pages that one connection reads from the database at once. All connections share the reads that
 * run at once and wait for them in one queue: thousands of calls of one connection would delay the others'
 * for seconds. LevelDB reads with four threads, so more would be no faster.
 */
const READS_MAX = 4;

/** A call whose deadline is later ends at this one. */
const DEADLINE_MS_MAX = 60_000;

/** What the runner needs of its connection. */
export interface CallParts {
  readonly host: BinaryHost;
  readonly token: ConnectionToken;
  readonly writer: AnswerWriter;
  readonly room: AnswerRoom;
  /** Told that the room holds so many bytes for what was written. */
  readonly onHeld: (bytes: number) => void;
  /** The connection is gone: nothing more is written. */
  readonly isOver: () => boolean;
}

export class CallRunner {
  readonly #parts: CallParts;
  readonly #turns = new ReadTurns(READS_MAX);

  constructor(parts: CallParts) {
    this.#parts = parts;
  }

  /** Executes a call. Resolves when its answer is written; never rejects. */
  async run(call: Call): Promise<void> {
    const refusal = this.#refusalOf(call);
    const { serving } = this.#parts.host;
    if (refusal !== null) {
      this.#fail(call, refusal);
      return;
    }
    if (serving === null) {
      this.#fail(call, STARTING);
      return;
    }
    try {
      await this.#execute(call, serving);
    } catch (error) {
      const told = failureOf(error);
      if (told.status === 500) this.#parts.host.onInternalError(error);
      this.#fail(call, told);
    }
  }

  #execute(call: Call, serving: Serving): Promise<void> {
    switch (call.type) {
      case "put":
      case "delete":
        return this.#write(call, serving);
      case "get":
        return this.#get(call, serving);
      case "list":
        return this.#list(call, serving);
      case "open-session":
        return this.#openSession(call.id, call.ttlMs, call, serving);
      case "end-session":
        return this.#endSession(call.id, call.session, call, serving);
      case "unknown":
        throw new BadRequestError(`operation ${call.operation} is not one that this node knows`);
    }
  }

  async #write(call: PutCall | DeleteCall, serving: Serving): Promise<void> {
    const { id, key, session } = call;
    checkKey(key);
    if (session !== null) {
      checkNumber("the session", session.id);
      checkNumber("the sequence number", session.sequence);
      checkNumber("the lowest unanswered number", session.lowestUnanswered);
      checkSession(session, "the lowest unanswered number", "the sequence number");
    }
    if (call.type === "put" && valueProblem(call.value) !== null) {
      this.#fail(call, VALUE_TOO_LARGE);
      return;
    }
    const condition = possible(call.condition);
    const command =
      call.type === "put"
        ? ({ type: "put", key, value: call.value, condition } as const)
        : ({ type: "delete", key, condition } as const);
    const { operations } = this.#parts.host;
    const result = await operations.write(serving, command, session, optionsOf(call));
    if (result.type === "condition-failed") {
      this.#fail(call, conditionFailure(result));
      return;
    }
    if (!this.#answers(call, 200)) return;
    if (result.version === null) this.#parts.writer.deleted(id, result.index, result.existed);
    else this.#parts.writer.put(id, result.index, result.version);
  }

  async #get(call: GetCall, serving: Serving): Promise<void> {
    const { id, key, consistency, unless } = call;
    // Before the read: then the answer is no older than this says.
    const staleness = stalenessOf(serving, consistency);
    const { host, room, writer } = this.#parts;
    const options = { consistency, ...optionsOf(call) };
    const found = await host.operations.get(serving, key, room, options, this.#turns);
    if (found === "no-room") {
      this.#fail(call, NO_ROOM);
    } else if (found === null) {
      this.#fail(call, NOT_FOUND, staleness);
    } else if (holds(unless, found)) {
      room.give(found.value.length);
      if (this.#answers(call, 304)) writer.unchanged(id, found.version, staleness);
    } else if (this.#answers(call, 200)) {
      writer.value(id, found.version, found.value, staleness);
      this.#parts.onHeld(found.value.length);
    }
  }

  async #list(call: ListCall, serving: Serving): Promise<void> {
    const { id, prefix, after, consistency } = call;
    const limit = call.limit === 0 ? LIST_LIMIT_DEFAULT : call.limit;
    checkListLimit(limit, String(limit));
    const staleness = stalenessOf(serving, consistency);
    const { host, room, writer } = this.#parts;
    const page = after.length === 0 ? { prefix, limit } : { prefix, limit, after };
    const options = { consistency, ...optionsOf(call) };
    const keep = (found: Listing, account: ValueAccount): Listing | null =>
      account.take(bytesOfKeys(found.keys)) ? found : null;
    const listing = await host.operations.list(serving, page, room, options, keep, this.#turns);
    if (listing === null) {
      this.#fail(call, NO_ROOM);
    } else if (this.#answers(call, 200)) {
      writer.keys(id, listing.keys, listing.more, staleness);
      this.#parts.onHeld(bytesOfKeys(listing.keys));
    }
  }

  async #openSession(id: number, ttlMs: number, call: Call, serving: Serving): Promise<void> {
    const { operations } = this.#parts.host;
    const asked = ttlMs === 0 ? undefined : ttlMs;
    const session = await operations.openSession(serving, asked, optionsOf(call));
    if (this.#answers(call, 201)) this.#parts.writer.session(id, session.id, session.ttlMs);
  }

  async #endSession(id: number, session: number, call: Call, serving: Serving): Promise<void> {
    checkNumber("the session", session);
    await this.#parts.host.operations.endSession(serving, session, optionsOf(call));
    if (this.#answers(call, 204)) this.#parts.writer.ended(id);
  }

  /** Why the client may not make the call. null: it may. The token is looked up anew for each call. */
  #refusalOf({ type }: Call): Failure | null {
    const { host, token } = this.#parts;
    const verdict = host.access.judge(
      token.entry,
      type === "unknown" ? UNKNOWN_ROUTE_RIGHT : BINARY_RIGHTS[type],
    );
    // No operation is for programs on this machine only.
    if (verdict.type !== "refused") return null;
    if (verdict.hasToken) return failure(403, "FORBIDDEN", verdict.reason);
    return failure(401, "UNAUTHORIZED", `the connection has no token that is valid now; ${verdict.reason}`);
  }

  #fail(call: Call, told: Failure, staleness: Staleness | null = null): void {
    if (this.#answers(call, told.status)) this.#parts.writer.error(call.id, told, staleness);
  }

  /** Counts an answer. False: the connection is gone, so nothing may be written. */
  #answers({ type }: Call, status: number): boolean {
    this.#parts.host.onAnswered(type, status);
    return !this.#parts.isOver();
  }
}

function optionsOf({ deadlineMs }: Call): CallOptions {
  return deadlineMs === 0 ? NO_OPTIONS : { timeoutMs: Math.min(deadlineMs, DEADLINE_MS_MAX) };
}

const NO_OPTIONS: CallOptions = {};

function stalenessOf({ node }: Serving, consistency: Consistency): Staleness | null {
  return consistency === "stale" ? node.staleness() : null;
}

/** The condition without versions that no key has: as in HTTP, they match nothing. */
function possible(condition: Condition | null): Condition | null {
  if (condition?.type !== "version" || condition.versions.every((version) => version > 0)) return condition;
  return { type: "version", versions: condition.versions.filter((version) => version > 0) };
}

/** Whether the condition holds for a key with this value. */
function holds(condition: Condition | null, { version }: Versioned): boolean {
  switch (condition?.type) {
    case undefined:
    case "absent":
      return false;
    case "exists":
      return true;
    case "version":
      return condition.versions.includes(version);
  }
}

function checkNumber(name: string, value: number): void {
  if (value < 1) throw new BadRequestError(`${name} is a whole number from 1 on, not "${value}"`);
}
