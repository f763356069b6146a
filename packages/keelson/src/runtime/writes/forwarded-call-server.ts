import {
  RUNTIME_PAYLOAD_BYTES_MAX,
  type ForwardReply,
  type ForwardRequest,
} from "../../codec/frame-runtime-message.ts";
import { assert } from "../../core/assert.ts";
import type { RaftNode } from "../../core/node.ts";
import type { LogIndex, NodeId, Term } from "../../core/position.ts";
import { InvalidOptionError, RaftError } from "../../errors.ts";
import { reasonOf } from "../failure.ts";
import type { Written } from "../calls/index.ts";
import type { Proposer } from "./proposer.ts";
import type { ResultCodec } from "../state-machine.ts";

/** Requests of one asker whose numbers are remembered below its highest; what comes later than that is left out. */
const WINDOW = 8192;

/** Lives of asking processes that one leadership remembers: many more than restart while it lasts. */
const ASKERS_MAX = 1024;

/** Bytes of an error's words. */
const WORDS_BYTES_MAX = 4096;

export interface ForwardedCallServerParts<Command, Result> {
  readonly core: Pick<RaftNode, "id" | "role" | "term">;
  readonly proposals: Pick<Proposer<Command, Result>, "writeBytes" | "openSession" | "closeSession">;
  readonly codec: ResultCodec<Result>;
  readonly send: (to: NodeId, message: ForwardReply) => boolean;
}

/** What came of a call, for its asker. */
interface Outgoing {
  readonly index: LogIndex;
  readonly payload: Uint8Array;
}

/**
 * What other nodes ask of this one as leader. A request is for the leader of one term, and done once at
 * most though messages may be doubled: its number is remembered for as long as that term may be led
 * here. "Not done" is said only of a request that was seen for the first time; where that cannot be
 * told nothing is said, and the asker ends with "unknown" (K4).
 */
export class ForwardedCallServer<Command, Result> {
  readonly #parts: ForwardedCallServerParts<Command, Result>;
  /** The last term that this process led. */
  #term: Term = 0;
  /** What each asker has sent in that term. */
  readonly #seen = new Map<string, SeenNumbers>();

  constructor(parts: ForwardedCallServerParts<Command, Result>) {
    this.#parts = parts;
  }

  /** The node may lead now. */
  look(): void {
    const { role, term } = this.#parts.core;
    if (role !== "leader" || term === this.#term) return;
    this.#term = term;
    this.#seen.clear();
  }

  receive(request: ForwardRequest): void {
    this.look();
    if (request.term !== this.#term || !this.#isNew(request)) return;
    const { core } = this.#parts;
    if (core.role !== "leader" || core.term !== request.term) {
      this.#fail(request, new RaftError("NOT_LEADER", "not-done", "it does not lead any more"));
      return;
    }
    this.#run(request).then(
      (outgoing) => {
        this.#reply(request, { type: "done", index: outgoing.index }, outgoing.payload);
      },
      (error: unknown) => {
        this.#fail(request, error);
      },
    );
  }

  #isNew({ from, incarnation, id }: ForwardRequest): boolean {
    const asker = `${from}/${String(incarnation)}`;
    let seen = this.#seen.get(asker);
    if (seen === undefined) {
      if (this.#seen.size >= ASKERS_MAX) return false;
      this.#seen.set(asker, (seen = new SeenNumbers()));
    }
    return seen.add(id);
  }

  async #run({ call, payload, waitMs: timeoutMs }: ForwardRequest): Promise<Outgoing> {
    const { proposals, codec } = this.#parts;
    if (codec.encodeResult === undefined) {
      throw new InvalidOptionError(
        "the leader sends no results on: its stateMachine.codec has no encodeResult",
      );
    }
    switch (call.type) {
      case "write":
        return this.#written(await proposals.writeBytes(payload, undefined, { timeoutMs }));
      case "session-write":
        return this.#written(await proposals.writeBytes(payload, call.session, { timeoutMs }));
      case "open-session": {
        const { id } = await proposals.openSession({ ttlMs: call.ttlMs, timeoutMs });
        return { index: id, payload: NOTHING };
      }
      case "close-session":
        await proposals.closeSession(call.id, { timeoutMs });
        return { index: call.id, payload: NOTHING };
    }
  }

  #written({ index, result }: Written<Result>): Outgoing {
    const { codec } = this.#parts;
    assert(codec.encodeResult !== undefined, "what is asked for is refused without encodeResult");
    const payload = codec.encodeResult(result);
    if (payload.length <= RUNTIME_PAYLOAD_BYTES_MAX) return { index, payload };
    const text = `the command took effect, and its result of ${String(payload.length)} bytes is too large to be sent on`;
    throw new RaftError("RESULT_NOT_SENT", "done", text);
  }

  #fail(request: ForwardRequest, error: unknown): void {
    // What is no error of ours comes from the codec, after the command was applied.
    const known =
      error instanceof RaftError ? error : new RaftError("RESULT_NOT_SENT", "done", reasonOf(error));
    const words = known.code === "COMMAND_REJECTED" ? reasonOf(known.cause) : known.message;
    const payload = new TextEncoder().encode(words).slice(0, WORDS_BYTES_MAX);
    this.#reply(request, { type: "error", code: known.code, outcome: known.outcome }, payload);
  }

  /** A reply that is dropped leaves its asker with "unknown". */
  #reply(
    { from, incarnation, id }: ForwardRequest,
    answer: ForwardReply["answer"],
    payload: Uint8Array,
  ): void {
    const { core, send } = this.#parts;
    send(from, { type: "forward-reply", from: core.id, incarnation, id, answer, payload });
  }
}

/** Which numbers were seen, of numbers that come about in order. */
class SeenNumbers {
  /** At and below it, all count as seen. */
  #floor = 0;
  #highest = 0;
  readonly #above = new Set<number>();

  /** False: it was seen before, or may have been. */
  add(number: number): boolean {
    if (number <= this.#floor || this.#above.has(number)) return false;
    this.#above.add(number);
    this.#highest = Math.max(this.#highest, number);
    if (this.#above.size > 2 * WINDOW) this.#forget(this.#highest - WINDOW);
    return true;
  }

  #forget(floor: number): void {
    this.#floor = Math.max(this.#floor, floor);
    for (const number of this.#above) if (number <= this.#floor) this.#above.delete(number);
  }
}

const NOTHING = new Uint8Array(0);
