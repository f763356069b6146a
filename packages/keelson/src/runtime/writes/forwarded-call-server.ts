// On the leader: runs the calls that other nodes forward, and sends the results back.
import {
  PROGRESS_IDS_MAX,
  RUNTIME_PAYLOAD_BYTES_MAX,
  type ForwardedCall,
  type ForwardProgress,
  type ForwardReply,
  type ForwardRequest,
  type MembershipChangeRequest,
} from "../../codec/frame-runtime-message.ts";
import type { RaftNode } from "../../core/node.ts";
import type { NodeId, Term } from "../../core/position.ts";
import type { Environment, Timer } from "../../environment/environment.ts";
import {
  CommandInvalidError,
  CommandRejectedError,
  InvalidOptionError,
  NotLeaderError,
  OutcomeUnknownError,
  OverloadedError,
  RaftError,
  ResultUnavailableError,
} from "../../errors.ts";
import type { CallOptions, EncodedWriteResult } from "../calls/index.ts";
import { reasonOf, textOfRejection, type ResultEncoder } from "../shared/index.ts";
import type { Proposer } from "./proposer.ts";

/**
 * Of each sender, at least this many of its highest request ids are remembered one by one. Older requests are
 * ignored.
 */
const REMEMBERED_IDS = 8192;

/**
 * Sender processes remembered in one term: far more than restart during it. Requests of further ones are
 * ignored.
 */
const SENDERS_MAX = 1024;

/**
 * Calls about members and leadership that run here for other nodes at once: far more than operators make.
 * Each lasts up to the time that its request names, and unlike a proposal it counts towards no other limit.
 */
const MEMBERSHIP_CALLS_MAX = 64;

/**
 * Bytes (UTF-8) of an error's text in a reply: the largest rejection has 14 KB, with every character escaped.
 */
const ERROR_TEXT_BYTES_MAX = 16 * 1024;

export interface ForwardedCallServerParts<Command, Result> {
  readonly core: Pick<RaftNode, "id" | "role" | "term">;
  readonly environment: Pick<Environment, "setTimer">;
  /**
   * How often the senders of calls that take long are told that these are still under way, in milliseconds.
   */
  readonly progressMs: number;
  readonly proposer: Pick<Proposer<Command, Result>, "writeForwarded" | "openSession" | "closeSession">;
  readonly changes: ChangeRunner;
  readonly transfers: TransferRunner;
  readonly results: Pick<ResultEncoder<Result>, "isAvailable">;
  /** False: dropped. */
  readonly send: (to: NodeId, message: ForwardReply | ForwardProgress) => boolean;
}

/** Changes the membership on this node as the leader. */
interface ChangeRunner {
  addLearner(id: NodeId, address: string, options: CallOptions): Promise<void>;
  change(change: MembershipChangeRequest, options: CallOptions): Promise<void>;
}

/** Hands over this node's leadership. Resolves with the next leader. */
interface TransferRunner {
  transfer(to: NodeId | null, options: CallOptions): Promise<NodeId>;
}

/**
 * Runs each forwarded call at most once, though its request may arrive several times.
 *
 * A request is for the leader of one term, and carries a number that its sender uses once. This node
 * remembers the numbers for as long as it may be the leader of that term, and a request of any other term is
 * ignored. So a duplicate never proposes the command again (K1), however late it comes.
 *
 * The sender repeats a call after "not done". So that reply is given only to a request that was certainly not
 * seen before: if a duplicate were refused, its first copy could have been proposed. A request that may be a
 * duplicate gets no reply, and its sender ends with "unknown" (K4).
 */
export class ForwardedCallServer<Command, Result> {
  readonly #parts: ForwardedCallServerParts<Command, Result>;
  /** The last term that this process led; 0: none. Requests of this term alone are answered. */
  #term: Term = 0;
  /**
   * The request ids that came in that term, by the sender's process (`from/incarnation`). Cleared when it
   * changes.
   */
  readonly #seen = new Map<string, SeenIds>();
  /** The requests whose calls have not ended, of any term. Bounded like the calls themselves. */
  readonly #running = new Set<ForwardRequest>();
  /** Runs while a call has not ended. */
  #timer: Timer | null = null;
  #ended = false;

  constructor(parts: ForwardedCallServerParts<Command, Result>) {
    this.#parts = parts;
  }

  /** The node may have become leader of another term. Called after each input to the core. */
  afterCoreInput(): void {
    const { role, term } = this.#parts.core;
    if (role !== "leader" || term === this.#term) return;
    this.#term = term;
    this.#seen.clear();
  }

  onRequest(request: ForwardRequest): void {
    this.afterCoreInput();
    if (request.term !== this.#term || !this.#isFirst(request)) return;
    const { core } = this.#parts;
    if (core.role !== "leader" || core.term !== request.term) {
      this.#replyError(request, new NotLeaderError(null));
      return;
    }
    this.#running.add(request);
    this.#armTimer();
    this.#run(request).then(
      (result) => {
        this.#running.delete(request);
        this.#reply(request, { type: "done", index: result.index }, result.bytes);
      },
      (error: unknown) => {
        this.#running.delete(request);
        this.#replyError(request, error);
      },
    );
  }

  /** The node stops. */
  stop(): void {
    this.#ended = true;
    this.#timer?.cancel();
    this.#timer = null;
  }

  #armTimer(): void {
    const { environment, progressMs } = this.#parts;
    if (this.#timer !== null || this.#ended || this.#running.size === 0) return;
    this.#timer = environment.setTimer(progressMs, () => {
      this.#timer = null;
      this.#tellProgress();
      this.#armTimer();
    });
  }

  /**
   * Tells each sender which of its calls are still under way: it gives up a call that it hears nothing of.
   */
  #tellProgress(): void {
    const { core, send } = this.#parts;
    const bySender = new Map<string, ForwardRequest[]>();
    for (const request of this.#running) {
      const sender = senderOf(request);
      const requests = bySender.get(sender);
      if (requests === undefined) bySender.set(sender, [request]);
      else requests.push(request);
    }
    for (const requests of bySender.values()) {
      for (let at = 0; at < requests.length; at += PROGRESS_IDS_MAX) {
        const some = requests.slice(at, at + PROGRESS_IDS_MAX);
        const [first] = some;
        if (first === undefined) continue;
        const { from: to, incarnation } = first;
        send(to, { type: "forward-progress", from: core.id, incarnation, ids: some.map(({ id }) => id) });
      }
    }
  }

  /** Whether the request certainly came for the first time. */
  #isFirst(request: ForwardRequest): boolean {
    const sender = senderOf(request);
    let seen = this.#seen.get(sender);
    if (seen === undefined) {
      if (this.#seen.size >= SENDERS_MAX) return false;
      this.#seen.set(sender, (seen = new SeenIds()));
    }
    return seen.add(request.id);
  }

  async #run({ call, payload, waitMs: timeoutMs }: ForwardRequest): Promise<EncodedWriteResult> {
    const { proposer, results, changes, transfers } = this.#parts;
    this.#checkMembershipCalls(call);
    if (hasResult(call) && !results.isAvailable) {
      throw new InvalidOptionError(
        "the leader sends no results on: its stateMachine.codec has no encodeResult and decodeResult",
      );
    }
    switch (call.type) {
      case "write":
        return sendable(await proposer.writeForwarded(payload, undefined, { timeoutMs }));
      case "session-write":
        return sendable(await proposer.writeForwarded(payload, call.session, { timeoutMs }));
      case "open-session": {
        const { id } = await proposer.openSession({ ttlMs: call.ttlMs, timeoutMs });
        return { index: id, bytes: NO_BYTES };
      }
      case "close-session":
        await proposer.closeSession(call.id, { timeoutMs });
        return { index: call.id, bytes: NO_BYTES };
      case "add-learner":
        await changes.addLearner(call.id, call.address, { timeoutMs });
        return { index: NO_INDEX, bytes: NO_BYTES };
      case "change-membership":
        await changes.change(call.change, { timeoutMs });
        return { index: NO_INDEX, bytes: NO_BYTES };
      case "transfer-leadership": {
        const leader = await transfers.transfer(call.to, { timeoutMs });
        return { index: NO_INDEX, bytes: new TextEncoder().encode(leader) };
      }
    }
  }

  /**
   * Refuses a call about members or leadership if too many run already. The call itself is counted by now.
   */
  #checkMembershipCalls(call: ForwardedCall): void {
    if (!isMembershipCall(call)) return;
    const running = [...this.#running].filter((request) => isMembershipCall(request.call)).length;
    if (running <= MEMBERSHIP_CALLS_MAX) return;
    throw new OverloadedError(
      `${String(MEMBERSHIP_CALLS_MAX)} changes and transfers of other nodes are under way at the leader; wait for some to finish`,
    );
  }

  #replyError(request: ForwardRequest, error: unknown): void {
    const known = error instanceof RaftError ? error : new OutcomeUnknownError(reasonOf(error));
    this.#reply(
      request,
      { type: "error", code: known.code, outcome: known.outcome },
      encodedText(textOf(known)),
    );
  }

  /** A reply may be lost: then the attempt ends as "unknown" for its sender. */
  #reply(
    { from, incarnation, id }: ForwardRequest,
    answer: ForwardReply["answer"],
    payload: Uint8Array,
  ): void {
    const { core, send } = this.#parts;
    send(from, { type: "forward-reply", from: core.id, incarnation, id, answer, payload });
  }
}

/** The result, if a reply can carry it. @throws ResultUnavailableError it is too large */
function sendable(result: EncodedWriteResult): EncodedWriteResult {
  const { length } = result.bytes;
  if (length <= RUNTIME_PAYLOAD_BYTES_MAX) return result;
  const text = `the command took effect, and its result of ${String(length)} bytes is too large to be sent on`;
  throw new ResultUnavailableError(text);
}

/** The text of an error in UTF-8, cut to what a reply carries. */
function encodedText(text: string): Uint8Array {
  const encoder = new TextEncoder();
  const whole = encoder.encode(text);
  if (whole.length <= ERROR_TEXT_BYTES_MAX) return whole;
  // `encodeInto` writes whole characters only.
  const target = new Uint8Array(ERROR_TEXT_BYTES_MAX);
  return target.slice(0, encoder.encodeInto(text, target).written);
}

/** What the error's message says after its fixed beginning, which the sender's error adds again. */
function textOf(error: RaftError): string {
  if (error instanceof CommandRejectedError) return textOfRejection(error.cause);
  if (error instanceof CommandInvalidError) return error.issues.map(({ message }) => message).join("; ");
  return error.message;
}

/**
 * The request ids of one sender. It counts up, so ids come roughly in order: only the highest are kept one by
 * one, and all below count as seen. That bounds the memory; a request that is overtaken by so many others
 * gets no reply.
 */
class SeenIds {
  /** This id and all below it count as seen. */
  #floor = 0;
  #highest = 0;
  /** The ids above `#floor` that were seen. At most twice REMEMBERED_IDS. */
  readonly #above = new Set<number>();

  /** False: the id was seen before, or may have been. */
  add(id: number): boolean {
    if (id <= this.#floor || this.#above.has(id)) return false;
    this.#above.add(id);
    this.#highest = Math.max(this.#highest, id);
    if (this.#above.size > 2 * REMEMBERED_IDS) this.#raiseFloor(this.#highest - REMEMBERED_IDS);
    return true;
  }

  #raiseFloor(floor: number): void {
    this.#floor = Math.max(this.#floor, floor);
    for (const id of this.#above) if (id <= this.#floor) this.#above.delete(id);
  }
}

function senderOf({ from, incarnation }: ForwardRequest): string {
  return `${from}/${String(incarnation)}`;
}

/** Whether the state machine answers this call. */
function hasResult({ type }: ForwardedCall): boolean {
  return type === "write" || type === "session-write";
}

function isMembershipCall({ type }: ForwardedCall): boolean {
  return type === "add-learner" || type === "change-membership" || type === "transfer-leadership";
}

const NO_BYTES = new Uint8Array(0);

/** The index in a reply to a call that has none. */
const NO_INDEX = 0;
