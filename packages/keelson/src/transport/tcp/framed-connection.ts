import type { ControlMessage } from "../../codec/frame-control-message.ts";
import { HANDSHAKE_BYTES_MAX } from "../../codec/frame-control-message.ts";
import { FrameReader } from "../../codec/frame-reader.ts";
import { encodeControlMessage, type Frame, FRAME_BYTES_MAX } from "../../codec/frame.ts";
import type { Connection, ConnectionHandler, Environment, Timer } from "../../environment/environment.ts";
import { DecodeError } from "../../errors.ts";

/** The idle limit is checked, and the peer asked whether it is there, so many times within it. */
const CHECKS_PER_IDLE_LIMIT = 4;

/** How long a connection that was told goodbye stays, so that the reason gets through before the close. */
const LINGER_MS = 1_000;

/** Answers that a peer may leave unread before it is thrown out. */
const UNREAD_PONG_BYTES_MAX = 64 * 1024;

/** Who uses a channel. */
export interface FrameHandler {
  /** The connection that was dialled is up. */
  onOpen?(): void;
  /** A frame other than goodbye and, once established, ping and pong. */
  onFrame(frame: Frame): void;
  /** The last call, once: the connection is closed for this reason. */
  onClosed(reason: string): void;
}

/**
 * One connection as frames: what both who dialled and who accepted need. It takes the stream
 * apart, closes it with a reason if that cannot be done, and notices an end that went silent.
 */
export class FramedConnection implements ConnectionHandler {
  readonly #connection: Connection;
  readonly #environment: Environment;
  readonly #owner: FrameHandler;
  /** A stranger's frames are small; see `establish`. */
  readonly #reader = new FrameReader(HANDSHAKE_BYTES_MAX);
  #state: "open" | "leaving" | "closed" = "open";
  #closeReason: string | null = null;
  #timer: Timer | null = null;
  #lastReceivedAt = 0;
  /** Of what was written: how much the operating system has taken, at the last check. */
  #writtenBytes = 0;
  #drainedBytes = 0;
  #hadBacklog = false;
  #established = false;
  /** Whether there is anybody who could read a goodbye. */
  #isConnected = false;

  constructor(connection: Connection, environment: Environment, owner: FrameHandler) {
    this.#connection = connection;
    this.#environment = environment;
    this.#owner = owner;
    connection.handler = this;
  }

  /** Who is at the other end, for people. */
  get peer(): string {
    return this.#connection.peer;
  }

  /** False from the moment on which it was told to close. */
  get isOpen(): boolean {
    return this.#state === "open";
  }

  get bufferedBytes(): number {
    return this.#connection.bufferedBytes;
  }

  /** Closes unless `establish`, or another `expect`, comes within `timeoutMs`. */
  setDeadline(timeoutMs: number, what: string): void {
    this.#timer?.cancel();
    this.#timer = this.#environment.setTimer(timeoutMs, () => {
      const reason = `no ${what} within ${String(timeoutMs)} ms`;
      if (this.#isConnected) this.closeWithGoodbye(reason);
      else this.destroy(reason);
    });
  }

  /** The handshake is done: large frames are let in, and silence is noticed. Who `asks` sends pings. */
  establish(idleMs: number, asks: boolean): void {
    this.#established = true;
    this.#reader.frameBytesMax = FRAME_BYTES_MAX;
    this.#lastReceivedAt = this.#environment.now();
    this.#scheduleIdleCheck(idleMs, asks);
  }

  sendControl(control: ControlMessage): void {
    this.write(encodeControlMessage(control));
  }

  /** Queues bytes; they belong to the channel from then on. */
  write(bytes: Uint8Array): void {
    if (this.#state !== "open") return;
    this.#writtenBytes += bytes.length;
    this.#connection.write(bytes);
  }

  pause(): void {
    this.#connection.pause();
  }

  resume(): void {
    this.#connection.resume();
  }

  /** Tells the peer why, and closes: at the latest when a moment has passed. Nothing is received any more. */
  closeWithGoodbye(reason: string): void {
    if (this.#state !== "open") return;
    this.sendControl({ type: "goodbye", reason });
    this.#state = "leaving";
    this.#closeReason = reason;
    // Closing at once with bytes unread would make the peer's system throw the reason away (RST).
    this.#connection.resume();
    this.#timer?.cancel();
    this.#timer = this.#environment.setTimer(LINGER_MS, () => {
      this.#connection.destroy(reason);
    });
  }

  /** Closes at once. */
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
      this.destroy(`the other end said: ${frame.reason}`);
    } else if (this.#established && frame.type === "ping") {
      this.#sendPong();
    } else if (!(this.#established && frame.type === "pong")) {
      this.#owner.onFrame(frame);
    }
  }

  #sendPong(): void {
    if (this.#connection.bufferedBytes > UNREAD_PONG_BYTES_MAX)
      this.destroy("it asks and does not read the answers");
    else this.sendControl({ type: "pong" });
  }

  #scheduleIdleCheck(idleMs: number, asks: boolean): void {
    const periodMs = idleMs / CHECKS_PER_IDLE_LIMIT;
    const plannedAt = this.#environment.now() + periodMs;
    this.#timer?.cancel();
    this.#timer = this.#environment.setTimer(periodMs, () => {
      const now = this.#environment.now();
      // It was us who slept, not the peer: what it said meanwhile is about to be read.
      if (now - plannedAt > periodMs || this.#backlogMoves()) this.#lastReceivedAt = now;
      if (now - this.#lastReceivedAt >= idleMs) {
        this.destroy(`nothing heard for ${String(idleMs)} ms`);
        return;
      }
      if (asks) this.sendControl({ type: "ping" });
      this.#scheduleIdleCheck(idleMs, asks);
    });
  }

  /**
   * Whether a full pipe moved since the last check. Then the peer is there, though our question may
   * be far behind in the queue. A pipe that is not full proves nothing: our own system takes bytes
   * for a peer that has long gone.
   */
  #backlogMoves(): boolean {
    const buffered = this.#connection.bufferedBytes;
    const taken = this.#writtenBytes - buffered;
    const moves = this.#hadBacklog && taken > this.#drainedBytes;
    this.#hadBacklog = buffered > 0;
    this.#drainedBytes = taken;
    return moves;
  }
}
