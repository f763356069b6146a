/**
 * One connection to a node in the binary protocol (docs/design/client-protocol.md), for all calls of a client
 * to that node at once.
 *
 * **Batches.** Calls wait until the end of the turn of the event loop, and leave in one frame and one write.
 * Answers come in any order and are told apart by their calls' ids.
 *
 * **Outcomes.** A call has been sent once the frame with it was given to the socket. Until then, whatever
 * ends it, it is "not done". After that it is "unknown", unless the node's goodbye says that it never took
 * the frame.
 *
 * **Limits.** At most as many calls are sent and unanswered as the node's welcome allows, and no frame is
 * written while the socket still holds one before it; further calls wait here. `call-budget.ts` limits how
 * many calls a client has in all.
 *
 * **A connection that fell silent.** While a sent call lacks its answer, something must come from the node
 * within `PING_AFTER_MS`; otherwise the client sends a ping, and without any byte for `SILENT_MS_MAX` gives
 * the connection up.
 */
import { connect as connectTcp, isIP, type Socket } from "node:net";
import { connect as connectTls, type ConnectionOptions } from "node:tls";
import { AnswerReader } from "../binary/answers.ts";
import { CallWriter } from "../binary/calls.ts";
import { readGoodbye, readWelcome, type Goodbye } from "../binary/control.ts";
import { checkVersion, FrameReader } from "../binary/frame-reader.ts";
import { FRAME_BYTES_MAX, FRAMES, ProtocolError } from "../binary/wire.ts";
import { answerOf, writeCall } from "./call-codec.ts";
import { KvClientError } from "./client-error.ts";
import type { AttemptLimits, CallResults, NodeAnswer, NodeCall } from "./node-call.ts";
import { isAboutCertificate, isSecure, NotConnectedError, urlOf } from "./sender.ts";
import { unreachable } from "./unreachable.ts";

/** Milliseconds until a connection must be established, and as many until the node's welcome has come. */
export const CONNECT_MS_MAX = 5000;
export const WELCOME_MS_MAX = 2000;
/** Milliseconds without a byte from the node, while it owes an answer, until the client sends a ping. */
export const PING_AFTER_MS = 1000;
/**
 * Milliseconds without a byte from the node, while it owes an answer, until the connection counts as broken.
 * Longer than the pauses of a busy node; shorter than a call's default time limit, so that a call without a
 * session can be told its outcome in time.
 */
export const SILENT_MS_MAX = 5000;
/**
 * The same while the socket still holds bytes for the node: a large frame on a slow network takes long, and
 * the node can't answer a ping behind it.
 */
export const SENDING_MS_MAX = 30_000;
/** Milliseconds without a call until the client closes the connection. */
export const IDLE_MS_MAX = 30_000;

/** How a connection ended, for the decision which protocol to use next. */
export type ConnectionEnd =
  /** The node has spoken the protocol. */
  | "spoken"
  /** No connection came about. */
  | "not-connected"
  /** Before its welcome, the other end closed the connection or stayed silent. */
  | "no-welcome"
  /** The other end speaks something else, or no version of the protocol that this client speaks. */
  | "other-protocol";

/** What a node connection needs to know. */
export interface NodeConnectionOptions {
  /** How to connect to a node with TLS. */
  readonly secure: ConnectionOptions;
  /** Sent in the hello. */
  readonly token: string | null;
  /**
   * Called once, at the end, before the calls that were not sent are settled. True: the calls that were not
   * sent are settled with "use-http".
   */
  readonly onEnd: (how: ConnectionEnd) => boolean;
  /** Called when the node's welcome has come. */
  readonly onWelcome: () => void;
}

/**
 * The answer to one attempt. "use-http": this protocol can't carry the call to this node; it was not sent.
 */
export type BinaryAnswer<Result> = NodeAnswer<Result> | "use-http";

/** A call that waits to be sent, or for its answer. */
interface Pending {
  /** null: it was settled before its answer came. Its value isn't held any more. */
  call: NodeCall | null;
  readonly deadline: number;
  readonly settle: (answer: BinaryAnswer<unknown>) => void;
  /** The number of the frame that it was sent in, from 1 on. 0: it wasn't sent. */
  frame: number;
  readonly signal: AbortSignal | undefined;
  readonly onAbort: (() => void) | null;
}

/** A connection and its calls. It connects at once, and ends by itself. */
export class NodeConnection {
  readonly #node: string;
  readonly #options: NodeConnectionOptions;
  readonly #socket: Socket;
  readonly #reader = new FrameReader();
  /** Replaced when the welcome says how large a frame may be. */
  #writer = new CallWriter();
  /** The most calls that are sent and unanswered. */
  #callsMax = 0;
  /**
   * "connecting", then "opening" until the node's opening bytes have come, "greeting" until its welcome,
   * "open", "leaving" when either end has said goodbye, and "ended".
   */
  #state: "connecting" | "opening" | "greeting" | "open" | "leaving" | "ended" = "connecting";
  /** Calls that were not sent, oldest first, from `#firstWaiting` on. Settled ones among them are skipped. */
  #waiting: Pending[] = [];
  #firstWaiting = 0;
  /**
   * Calls that were sent and not answered, by id. Those settled before stay: the node still works on them.
   */
  readonly #sent = new Map<number, Pending>();
  #nextId = 1;
  /** Calls that are not settled. While there are any, the connection keeps the process running. */
  #unsettled = 0;
  /** The socket holds bytes of an earlier frame. Cleared by its "drain". */
  #isFull = false;
  #isFlushPlanned = false;
  /** When the earliest deadline may pass, and the timer for it. Infinity: no timer. */
  #deadlineAt = Infinity;
  #deadlineTimer: NodeJS.Timeout | undefined;
  /** The timer of the current step: connecting, the welcome, or silence. undefined: nothing is awaited. */
  #stepTimer: NodeJS.Timeout | undefined;
  /** When the last byte came, or when the first of the calls was sent that now lack an answer. */
  #heardAt = 0;
  /** A ping was sent since then. */
  #isPinged = false;
  /** What to close an idle connection after: before the node does. */
  #idleMs = IDLE_MS_MAX;
  /** When the last call was settled. */
  #idleSince = 0;
  #idleTimer: NodeJS.Timeout | undefined;

  constructor(node: string, options: NodeConnectionOptions) {
    this.#node = node;
    this.#options = options;
    this.#socket = connectTo(node, options.secure);
    this.#socket.once(isSecure(node) ? "secureConnect" : "connect", () => {
      this.#connected();
    });
    this.#socket.on("data", (chunk: Buffer) => {
      this.#received(chunk);
    });
    this.#socket.on("drain", () => {
      this.#isFull = false;
      this.#planFlush();
    });
    this.#socket.once("error", (error) => {
      this.#end(error);
    });
    this.#socket.once("close", () => {
      this.#end(null);
    });
    this.#step(CONNECT_MS_MAX, () => {
      this.#end(new Error(`no connection within ${CONNECT_MS_MAX} ms`));
    });
    this.#socket.unref();
  }

  /** Whether further calls can use this connection. */
  get isUsable(): boolean {
    return this.#state !== "leaving" && this.#state !== "ended";
  }

  /** Whether the node has spoken the protocol on this connection. */
  get isOpen(): boolean {
    return this.#state === "open";
  }

  /** Sends the call with the others of this turn. Use it only while `isUsable`. */
  attempt<Call extends NodeCall>(
    call: Call,
    { timeoutMs, signal }: AttemptLimits,
  ): Promise<BinaryAnswer<CallResults[Call["type"]]>> {
    return new Promise((resolve) => {
      const deadline = performance.now() + timeoutMs;
      const settle = resolve as Pending["settle"];
      const onAbort =
        signal === undefined
          ? null
          : () => {
              this.#settleEarly(pending, "ABORTED", "the call was aborted");
            };
      const pending: Pending = { call, deadline, settle, frame: 0, signal, onAbort };
      if (this.#unsettled === 0) this.#socket.ref();
      this.#unsettled += 1;
      this.#waiting.push(pending);
      if (onAbort !== null) signal?.addEventListener("abort", onAbort);
      if (signal?.aborted === true) onAbort?.();
      this.#watchDeadline(deadline);
      this.#planFlush();
    });
  }

  /** Closes the connection if no call uses it. */
  closeIfIdle(): void {
    if (this.#unsettled === 0) this.#leave();
  }

  #connected(): void {
    this.#state = "opening";
    this.#socket.setNoDelay(true);
    // While it connected, the socket may have changed its handle, and forgotten this.
    if (this.#unsettled > 0) this.#socket.ref();
    else this.#socket.unref();
    const writer = this.#writer;
    writer.opening();
    writer.hello({ features: 0, token: this.#options.token });
    this.#socket.write(writer.take());
    this.#step(WELCOME_MS_MAX, () => {
      this.#end(new Error(`no welcome within ${WELCOME_MS_MAX} ms`));
    });
  }

  #received(chunk: Buffer): void {
    if (this.#state === "ended") return;
    this.#heard();
    try {
      this.#reader.push(chunk);
      if (this.#state === "opening") {
        const version = this.#reader.opening();
        if (version === "incomplete") return;
        checkVersion(version);
        this.#state = "greeting";
      }
      for (;;) {
        const frame = this.#reader.next(FRAME_BYTES_MAX);
        if (typeof frame === "string") break;
        this.#take(frame.type, frame.payload);
        if (this.#socket.destroyed) return;
      }
    } catch (error) {
      this.#end(error);
      return;
    }
    if (this.#hasWaiting) this.#planFlush();
    else if (this.#state === "leaving" && this.#unsettled === 0) this.#end(null);
  }

  #heard(): void {
    this.#heardAt = performance.now();
    this.#isPinged = false;
  }

  #take(type: number, payload: Uint8Array): void {
    if (type === FRAMES.goodbye) {
      this.#dismissed(readGoodbye(payload));
      return;
    }
    if (this.#state === "greeting") {
      if (type !== FRAMES.welcome) throw new ProtocolError("BAD_FRAME", `frame ${type} before the welcome`);
      this.#welcomed(payload);
    } else if (type === FRAMES.answers) this.#answered(new AnswerReader(payload));
    else if (type !== FRAMES.pong) throw new ProtocolError("BAD_FRAME", `frame ${type} from a node`);
  }

  #welcomed(payload: Uint8Array): void {
    const { frameBytesMax, callsMax, idleMs } = readWelcome(payload);
    this.#writer = new CallWriter(frameBytesMax);
    // One fewer than the node takes: with as many, it reads nothing more, and a ping would go unanswered.
    this.#callsMax = Math.max(1, callsMax - 1);
    if (idleMs > 0) this.#idleMs = Math.min(IDLE_MS_MAX, idleMs / 2);
    this.#state = "open";
    clearTimeout(this.#stepTimer);
    this.#stepTimer = undefined;
    this.#options.onWelcome();
    this.#idleSince = performance.now();
    if (this.#unsettled === 0) this.#watchIdleness();
    this.#planFlush();
  }

  #answered(answers: AnswerReader): void {
    for (let answer = answers.next(); answer !== null; answer = answers.next()) {
      const pending = this.#sent.get(answer.id);
      if (pending === undefined) throw new ProtocolError("BAD_FRAME", `an answer to no call: ${answer.id}`);
      this.#sent.delete(answer.id);
      const { call } = pending;
      if (call === null) continue;
      const result = answerOf(call, answer);
      if (result === null) {
        const message = "an answer that no node would give";
        this.#settle(pending, {
          type: "verdict",
          error: new KvClientError("BAD_ANSWER", "unknown", null, message),
        });
        throw new ProtocolError(
          "BAD_FRAME",
          `an answer of type ${answer.type} to a call of type ${call.type}`,
        );
      }
      this.#settle(pending, result);
    }
  }

  /** The node's goodbye. Calls in the frames that it took are still answered. */
  #dismissed(goodbye: Goodbye): void {
    if (goodbye.code === "UNSUPPORTED_VERSION") throw new ProtocolError(goodbye.code, goodbye.message);
    this.#state = "leaving";
    const answer = dismissal(this.#node, goodbye);
    this.#failWaiting(answer);
    for (const [id, pending] of this.#sent) {
      if (pending.frame <= goodbye.framesTaken) continue;
      this.#sent.delete(id);
      this.#settle(pending, answer);
    }
  }

  #planFlush(): void {
    if (this.#isFlushPlanned || this.#state !== "open") return;
    this.#isFlushPlanned = true;
    setImmediate(() => {
      this.#isFlushPlanned = false;
      this.#flush();
    });
  }

  /** Sends what waits, as far as the node and the socket take more. */
  #flush(): void {
    if (this.#state !== "open" || this.#isFull) return;
    const now = performance.now();
    if (this.#sent.size === 0) this.#heard();
    while (this.#hasWaiting && this.#sent.size < this.#callsMax && this.#writer.length < WRITE_BYTES_MAX) {
      const pending = this.#waiting[this.#firstWaiting++];
      if (pending !== undefined && pending.call !== null) this.#write(pending, pending.call, now);
    }
    if (this.#writer.length > 0) this.#isFull = !this.#socket.write(this.#writer.take());
    if (this.#firstWaiting === this.#waiting.length) {
      this.#waiting = [];
      this.#firstWaiting = 0;
    } else if (this.#firstWaiting >= COMPACT_AFTER) {
      this.#waiting = this.#waiting.slice(this.#firstWaiting);
      this.#firstWaiting = 0;
    }
    if (this.#sent.size > 0 && this.#stepTimer === undefined) {
      this.#heard();
      this.#watchSilence(PING_AFTER_MS);
    }
  }

  #write(pending: Pending, call: NodeCall, now: number): void {
    const id = this.#freeId();
    try {
      writeCall(this.#writer, id, call, Math.max(1, Math.ceil(pending.deadline - now)));
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      // The protocol has no place for so large a key or value. Over HTTP, the node says that it is too large.
      this.#settle(pending, "use-http");
      return;
    }
    pending.frame = this.#writer.itemFrames;
    this.#sent.set(id, pending);
  }

  get #hasWaiting(): boolean {
    return this.#firstWaiting < this.#waiting.length;
  }

  #freeId(): number {
    // Ids begin again after 2^32 of them, and a call may still be under way under an old one.
    while (this.#sent.has(this.#nextId)) this.#nextId = (this.#nextId + 1) >>> 0;
    const id = this.#nextId;
    this.#nextId = (id + 1) >>> 0;
    return id;
  }

  /** Settles the call before its answer has come. */
  #settleEarly(pending: Pending, code: string, message: string): void {
    const outcome = pending.frame > 0 ? "unknown" : "not-done";
    this.#settle(pending, { type: "failed", error: new KvClientError(code, outcome, null, message) });
  }

  #settle(pending: Pending, answer: BinaryAnswer<unknown>): void {
    if (pending.call === null) return;
    pending.call = null;
    if (pending.onAbort !== null) pending.signal?.removeEventListener("abort", pending.onAbort);
    this.#unsettled -= 1;
    if (this.#unsettled === 0) {
      this.#socket.unref();
      this.#idleSince = performance.now();
      this.#watchIdleness();
    }
    pending.settle(answer);
  }

  #failWaiting(answer: BinaryAnswer<unknown>): void {
    const waiting = this.#waiting.slice(this.#firstWaiting);
    this.#waiting = [];
    this.#firstWaiting = 0;
    for (const pending of waiting) this.#settle(pending, answer);
  }

  /** Settles calls whose time is up, when the earliest of their deadlines has passed. */
  #watchDeadline(deadline: number): void {
    if (deadline >= this.#deadlineAt) return;
    clearTimeout(this.#deadlineTimer);
    this.#deadlineAt = deadline;
    const timer = setTimeout(
      () => {
        this.#deadlineAt = Infinity;
        this.#settleLate();
      },
      Math.max(0, Math.ceil(deadline - performance.now())),
    );
    this.#deadlineTimer = timer.unref();
  }

  #settleLate(): void {
    const now = performance.now();
    let next = Infinity;
    const check = (pending: Pending): void => {
      if (pending.call === null) return;
      if (pending.deadline > now) next = Math.min(next, pending.deadline);
      else this.#settleEarly(pending, "TIMED_OUT", `no answer from ${this.#node} in time`);
    };
    for (const pending of this.#sent.values()) check(pending);
    for (let at = this.#firstWaiting; at < this.#waiting.length; at++) {
      const pending = this.#waiting[at];
      if (pending !== undefined) check(pending);
    }
    if (next < Infinity) this.#watchDeadline(next);
  }

  /**
   * Runs `next` after `ms` milliseconds, instead of what was to run before. If the process was busy
   * meanwhile, it waits once more: what the node has sent may not have been read yet.
   */
  #step(ms: number, next: () => void): void {
    clearTimeout(this.#stepTimer);
    const plannedAt = performance.now() + ms;
    const timer = setTimeout(() => {
      if (performance.now() > plannedAt + LATE_MS) this.#step(ms, next);
      else next();
    }, ms);
    this.#stepTimer = timer.unref();
  }

  /** Looks after `ms` milliseconds whether something has come from the node, while it owes answers. */
  #watchSilence(ms: number): void {
    this.#step(ms, () => {
      this.#stepTimer = undefined;
      if (this.#unsettled > 0 && this.#sent.size > 0) this.#checkSilence();
    });
  }

  #checkSilence(): void {
    const silentMs = performance.now() - this.#heardAt;
    const isSending = this.#socket.writableLength > 0;
    const silentMsMax = isSending ? SENDING_MS_MAX : SILENT_MS_MAX;
    if (silentMs >= silentMsMax) {
      this.#end(new Error(`nothing came from ${this.#node} for ${Math.round(silentMs)} ms`));
      return;
    }
    if (silentMs >= PING_AFTER_MS && !isSending && !this.#isPinged) {
      this.#isPinged = true;
      this.#writer.ping(0);
      this.#socket.write(this.#writer.take());
    }
    this.#watchSilence(Math.max(1, Math.min(PING_AFTER_MS, silentMsMax - silentMs)));
  }

  /** Closes the connection when it hasn't been used for a while. */
  #watchIdleness(): void {
    if (this.#idleTimer !== undefined || this.#state !== "open") return;
    const leftMs = Math.max(1, Math.ceil(this.#idleSince + this.#idleMs - performance.now()));
    const timer = setTimeout(() => {
      this.#idleTimer = undefined;
      if (this.#unsettled > 0) return;
      if (performance.now() >= this.#idleSince + this.#idleMs) this.#leave();
      else this.#watchIdleness();
    }, leftMs);
    this.#idleTimer = timer.unref();
  }

  /** Says goodbye, and closes the connection. No call uses it. */
  #leave(): void {
    if (this.#state !== "open") {
      this.#end(null);
      return;
    }
    this.#state = "leaving";
    this.#writer.goodbye({ code: "", message: "", framesTaken: 0 });
    this.#socket.write(this.#writer.take());
    this.#socket.destroySoon();
  }

  /** Settles all calls, and drops the connection. `cause`: why. null: the other end closed it. */
  #end(cause: unknown): void {
    if (this.#state === "ended") return;
    const how = this.#howItEnds(cause);
    const wasConnected = how !== "not-connected";
    this.#state = "ended";
    clearTimeout(this.#deadlineTimer);
    clearTimeout(this.#stepTimer);
    clearTimeout(this.#idleTimer);
    this.#reader.close();
    this.#socket.destroy();
    const useHttp = this.#options.onEnd(how);
    this.#failWaiting(
      useHttp
        ? "use-http"
        : { type: "failed", error: wasConnected ? this.#lost("not-done", cause) : this.#unreachable(cause) },
    );
    const sent = [...this.#sent.values()];
    this.#sent.clear();
    for (const pending of sent)
      this.#settle(pending, { type: "failed", error: this.#lost("unknown", cause) });
  }

  #howItEnds(cause: unknown): ConnectionEnd {
    const isForeign = cause instanceof ProtocolError;
    switch (this.#state) {
      case "connecting":
        return "not-connected";
      case "opening":
        // With TLS 1.3, a node refuses a client's certificate after the handshake.
        if (cause instanceof Error && isAboutCertificate(cause)) return "not-connected";
        return isForeign ? "other-protocol" : "no-welcome";
      case "greeting":
        return isForeign ? "other-protocol" : "no-welcome";
      default:
        return "spoken";
    }
  }

  #lost(outcome: "not-done" | "unknown", cause: unknown): KvClientError {
    const message = `the connection to ${this.#node} was lost`;
    const text = outcome === "not-done" ? `${message} before the call was sent` : message;
    return new KvClientError("CONNECTION_LOST", outcome, null, text, { cause });
  }

  #unreachable(cause: unknown): KvClientError {
    const reason = cause instanceof Error ? cause.message : "the connection was closed";
    const error = new NotConnectedError(reason, { cause });
    return new KvClientError("UNREACHABLE", "not-done", null, unreachable(this.#node, error), {
      cause: error,
    });
  }
}

/**
 * No call is added to a write of this many bytes, so the socket holds at most this much and one call. Further
 * calls leave when it has been sent.
 */
const WRITE_BYTES_MAX = 1024 * 1024;
/** A timer that fires this many milliseconds late shows that the process was busy. */
const LATE_MS = 200;
/** Settled calls at the front of the queue before it is moved up. */
const COMPACT_AFTER = 1024;

/** The answer to calls that a node won't execute because of its goodbye. They had no effect. */
function dismissal(node: string, { code, message }: Goodbye): NodeAnswer<never> {
  const text = `${node} ended the connection${message === "" ? "" : `: ${message}`}`;
  switch (code) {
    case "UNAUTHORIZED":
      return { type: "refused", error: new KvClientError(code, "not-done", 401, text) };
    case "OVERLOADED":
      return { type: "failed", error: new KvClientError(code, "not-done", 429, text) };
    default: {
      const options = { cause: new Error(code === "" ? text : `${text} (${code})`) };
      return { type: "failed", error: new KvClientError("CONNECTION_LOST", "not-done", null, text, options) };
    }
  }
}

function connectTo(node: string, secure: ConnectionOptions): Socket {
  const { hostname, port, protocol } = new URL(urlOf(node));
  const host = hostname.startsWith("[") ? hostname.slice(1, -1) : hostname;
  if (protocol !== "https:") return connectTcp({ host, port: Number(port || HTTP_PORT) });
  const servername = isIP(host) === 0 ? { servername: host } : {};
  return connectTls({ ...secure, ...servername, host, port: Number(port || HTTPS_PORT) });
}

const HTTP_PORT = 80;
const HTTPS_PORT = 443;
