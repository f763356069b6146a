// A connection that carries frames instead of bytes. Both sides of a handshake build on it:
// incoming-connection.ts and outgoing-connection.ts.
import type { ControlMessage } from "../../codec/frame-control-message.ts";
import { HANDSHAKE_BYTES_MAX } from "../../codec/frame-control-message.ts";
import { FrameReader } from "../../codec/frame-reader.ts";
import { encodeControlMessage, type Frame, FRAME_BYTES_MAX } from "../../codec/frame.ts";
import type {
  Certificate,
  Connection,
  ConnectionHandler,
  Environment,
  Timer,
} from "../../environment/environment.ts";
import { DecodeError } from "../../errors.ts";
import { foreignProtocolOf } from "./foreign-protocol.ts";

/** What a framed connection reports to its owner. */
export interface FrameHandler {
  /** The connection that this node opened is established. Never called for an accepted one. */
  onOpen?(): void;
  /**
   * A frame arrived. The framed connection itself handles goodbyes and, once established, pings and pongs,
   * and doesn't report them.
   */
  onFrame(frame: Frame): void;
  /** The connection is closed, for this reason. Called exactly once, as the last of all. */
  onClosed(reason: string): void;
  /** The peer ends the connection and says why. `onClosed` follows. */
  onGoodbye?(reason: string): void;
}

/**
 * Splits a connection's bytes into frames, and closes the connection with a reason when they are not frames.
 * Notices a peer that went silent: TCP alone would report a machine that lost power only after many minutes.
 */
export class FramedConnection implements ConnectionHandler {
  readonly #connection: Connection;
  readonly #environment: Environment;
  readonly #owner: FrameHandler;
  /**
   * Accepts only small frames until `establish`: before its handshake is complete, a peer must not make this
   * node hold much memory.
   */
  readonly #reader = new FrameReader(HANDSHAKE_BYTES_MAX);
  /**
   * "leaving": closing was decided, so frames are neither sent nor received any more; `onClose` is still to
   * come.
   */
  #state: "open" | "leaving" | "closed" = "open";
  /**
   * Why this side closes the connection, or the reason in the peer's goodbye; null: it was not closed on
   * purpose.
   */
  #closeReason: string | null = null;
  /**
   * The one timer: the deadline of `setDeadline`, then the next idle check, then the end of the linger time.
   */
  #timer: Timer | null = null;
  /** When bytes last arrived, or the peer otherwise proved to be alive; set from `establish` on. */
  #lastReceivedAt = 0;
  /** Bytes passed to `write` so far. */
  #writtenBytes = 0;
  /**
   * For each write that the operating system has not taken as a whole, `#writtenBytes` after that write;
   * ascending. A few at the front may be taken by now.
   */
  #unsentWrites: number[] = [];
  /** How many of `#writtenBytes` the operating system had taken at the last idle check. */
  #drainedBytes = 0;
  /** Whether bytes waited for the operating system at the last idle check. */
  #hadBacklog = false;
  /** Whether the handshake is complete. Set by `establish`, never reset. */
  #established = false;
  /** Whether anything was received. */
  #hasSpoken = false;
  /** What the peer speaks instead of frames, as its first bytes show; undefined: nothing that is known. */
  #foreignProtocol: string | undefined;
  /** Whether the peer's end is known to exist, so that a goodbye can reach it. Never reset. */
  #isConnected = false;

  constructor(connection: Connection, environment: Environment, owner: FrameHandler) {
    this.#connection = connection;
    this.#environment = environment;
    this.#owner = owner;
    connection.handler = this;
  }

  /** The address at the other end, for logs. */
  get peer(): string {
    return this.#connection.peer;
  }

  /** The peer's certificate; absent: there is none. */
  get certificate(): Certificate | undefined {
    return this.#connection.certificate;
  }

  /** Why this end refused the peer before its first frame; absent: it didn't. */
  get refusal(): string | undefined {
    return this.#foreignProtocol ?? this.#connection.refusal;
  }

  /** Whether the peer has sent something that it could only send after TLS and the proof of the secret. */
  get hasSpoken(): boolean {
    return this.#hasSpoken;
  }

  /** False as soon as closing was decided on this side, or the connection was closed. */
  get isOpen(): boolean {
    return this.#state === "open";
  }

  /** Bytes written that the operating system has not taken yet. */
  get bufferedBytes(): number {
    return this.#connection.bufferedBytes;
  }

  /**
   * The memory that unsent writes hold: `bufferedBytes`, and what each write takes besides its bytes. A
   * limit on what waits must count this: a peer that doesn't read would otherwise make a node hold several
   * times the limit in acknowledgements of 60 bytes.
   */
  get heldBytes(): number {
    this.#forgetSentWrites();
    return this.#connection.bufferedBytes + this.#unsentWrites.length * WRITE_OVERHEAD_BYTES;
  }

  /** Closes the connection unless `establish`, or another `setDeadline`, is called within `timeoutMs`. */
  setDeadline(timeoutMs: number, what: string): void {
    this.#timer?.cancel();
    this.#timer = this.#environment.setTimer(timeoutMs, () => {
      const reason = `no ${what} within ${String(timeoutMs)} ms`;
      if (this.#isConnected) this.closeWithGoodbye(reason);
      else this.destroy(reason);
    });
  }

  /**
   * The handshake is complete: accepts frames of any size, and closes the connection when nothing is received
   * for `idleMs`. One of the two ends must `sendPings`, so that both receive something on a connection
   * without messages.
   */
  establish(idleMs: number, sendPings: boolean): void {
    this.#established = true;
    this.#reader.frameBytesMax = FRAME_BYTES_MAX;
    this.#lastReceivedAt = this.#environment.now();
    this.#scheduleIdleCheck(idleMs, sendPings);
  }

  sendControl(control: ControlMessage): void {
    this.write(encodeControlMessage(control));
  }

  /** Queues bytes for the peer; the caller must not change them any more. Does nothing unless open. */
  write(bytes: Uint8Array): void {
    if (this.#state !== "open") return;
    this.#forgetSentWrites();
    this.#writtenBytes += bytes.length;
    this.#unsentWrites.push(this.#writtenBytes);
    this.#connection.write(bytes);
  }

  pause(): void {
    this.#connection.pause();
  }

  resume(): void {
    this.#connection.resume();
  }

  /**
   * Sends the peer the reason, and closes when the peer closes, at the latest after `LINGER_MS`. Frames that
   * arrive from now on are ignored.
   */
  closeWithGoodbye(reason: string): void {
    if (this.#state !== "open") return;
    this.sendControl({ type: "goodbye", reason });
    this.#state = "leaving";
    this.#closeReason = reason;
    // Closing a socket that holds unread bytes sends a reset, on which the peer's system would discard the
    // goodbye. So go on reading, and close when the peer does, or after the linger time.
    this.#connection.resume();
    this.#timer?.cancel();
    this.#timer = this.#environment.setTimer(LINGER_MS, () => {
      this.#connection.destroy(reason);
    });
  }

  /** Closes at once, without a goodbye. Bytes that were not sent yet may be lost. */
  destroy(reason: string): void {
    this.#closeReason ??= reason;
    if (this.#state === "open") this.#state = "leaving";
    this.#timer?.cancel();
    this.#connection.destroy(reason);
  }

  onOpen(): void {
    this.#isConnected = true;
    if (this.#state === "open") this.#owner.onOpen?.();
  }

  onData(bytes: Uint8Array): void {
    if (this.#state !== "open") return;
    this.#isConnected = true;
    this.#lastReceivedAt = this.#environment.now();
    if (!this.#hasSpoken) {
      this.#hasSpoken = true;
      this.#foreignProtocol = foreignProtocolOf(bytes) ?? undefined;
      if (this.#foreignProtocol !== undefined) {
        // The peer can't read the goodbye, but sees that it gets a frame, and can tell its operator.
        this.closeWithGoodbye(this.#foreignProtocol);
        return;
      }
    }
    try {
      this.#reader.feed(bytes);
      for (let frame = this.#reader.next(); frame !== null; frame = this.#reader.next()) {
        this.#handle(frame);
        if (!this.isOpen) return;
      }
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      this.closeWithGoodbye(error.message);
    }
  }

  onClose(reason: string): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#timer?.cancel();
    this.#owner.onClosed(this.#closeReason ?? reason);
  }

  #handle(frame: Frame): void {
    if (frame.type === "goodbye") {
      this.#owner.onGoodbye?.(frame.reason);
      this.destroy(`the other end said: ${frame.reason}`);
    } else if (this.#established && frame.type === "ping") {
      this.#sendPong();
    } else if (!(this.#established && frame.type === "pong")) {
      this.#owner.onFrame(frame);
    }
  }

  /**
   * Answers a ping, or closes the connection to a peer that doesn't read: the pongs would pile up in this
   * node's memory.
   */
  #sendPong(): void {
    if (this.heldBytes > UNREAD_PONG_BYTES_MAX) this.destroy("it asks and does not read the answers");
    else this.sendControl({ type: "pong" });
  }

  #forgetSentWrites(): void {
    const sentBytes = this.#writtenBytes - this.#connection.bufferedBytes;
    let sent = 0;
    while ((this.#unsentWrites[sent] ?? Infinity) <= sentBytes) sent += 1;
    if (sent === this.#unsentWrites.length) this.#unsentWrites.length = 0;
    else if (sent >= SENT_WRITES_MIN) this.#unsentWrites.splice(0, sent);
  }

  #scheduleIdleCheck(idleMs: number, sendPings: boolean): void {
    const periodMs = idleMs / CHECKS_PER_IDLE_LIMIT;
    const plannedAt = this.#environment.now() + periodMs;
    this.#timer?.cancel();
    this.#timer = this.#environment.setTimer(periodMs, () => {
      const now = this.#environment.now();
      // A timer this late means that this process was stopped, not the peer: what the peer sent meanwhile is
      // still in the socket and will be read after this callback.
      if (now - plannedAt > periodMs || this.#backlogMoves()) this.#lastReceivedAt = now;
      if (now - this.#lastReceivedAt >= idleMs) {
        this.destroy(`nothing heard for ${String(idleMs)} ms`);
        return;
      }
      if (sendPings) this.sendControl({ type: "ping" });
      this.#scheduleIdleCheck(idleMs, sendPings);
    });
  }

  /**
   * Whether the operating system took bytes from a backlog since the last check. That proves that the peer
   * reads: a full socket only takes more when the peer's end has made room. The ping may be far behind in the
   * backlog, so its answer can't be expected yet. Without a backlog it proves nothing, since a socket that is
   * not full takes bytes even when the peer is gone.
   */
  #backlogMoves(): boolean {
    const buffered = this.#connection.bufferedBytes;
    const drained = this.#writtenBytes - buffered;
    const moves = this.#hadBacklog && drained > this.#drainedBytes;
    this.#hadBacklog = buffered > 0;
    this.#drainedBytes = drained;
    return moves;
  }
}

/** How often, within the idle limit, silence is checked for and a ping is sent. */
const CHECKS_PER_IDLE_LIMIT = 4;

/**
 * How long a connection stays open after a goodbye, in milliseconds, so that the goodbye can arrive before
 * the close.
 */
const LINGER_MS = 1_000;

/**
 * The memory of a write that the operating system has not taken, besides its bytes: the buffer's objects,
 * and the socket's place for it.
 */
const WRITE_OVERHEAD_BYTES = 512;

/**
 * Writes that were sent are removed from the list when there are at least so many of them, or all were sent.
 * Removing them one by one would move up the rest of the list each time.
 */
const SENT_WRITES_MIN = 64;

/** Bytes that may be held when another pong is due; with more, the peer is not reading. */
const UNREAD_PONG_BYTES_MAX = 64 * 1024;
