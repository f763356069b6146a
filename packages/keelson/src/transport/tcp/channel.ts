import type { ControlMessage } from "../../codec/frame-control-message.ts";
import { HANDSHAKE_BYTES_MAX } from "../../codec/frame-control-message.ts";
import { FrameReader } from "../../codec/frame-reader.ts";
import { encodeControlMessage, type Frame, FRAME_BYTES_MAX } from "../../codec/frame.ts";
import type { Connection, ConnectionHandler, Environment, Timer } from "../../environment/environment.ts";
import { DecodeError } from "../../errors.ts";

/** The idle limit is checked, and the peer asked whether it is there, so many times within it. */
const CHECKS_PER_IDLE = 4;

/** How long a connection that was told goodbye stays, so that the reason gets through before the close. */
const LINGER_MS = 1_000;

/** Answers that a peer may leave unread before it is thrown out. */
const UNREAD_BYTES_MAX = 64 * 1024;

/** Who uses a channel. */
export interface ChannelOwner {
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
export class Channel implements ConnectionHandler {
  readonly #connection: Connection;
  readonly #environment: Environment;
  readonly #owner: ChannelOwner;
  /** A stranger's frames are small; see `establish`. */
  readonly #reader = new FrameReader(HANDSHAKE_BYTES_MAX);
  #state: "open" | "leaving" | "closed" = "open";
  #leavingReason: string | null = null;
  #timer: Timer | null = null;
  #heardAt = 0;
  /** Of what was written: how much the operating system has taken, at the last check. */
  #writtenBytes = 0;
  #takenBytes = 0;
  #wasFull = false;
  #established = false;
  /** Whether there is anybody who could read a goodbye. */
  #isUp = false;

  constructor(connection: Connection, environment: Environment, owner: ChannelOwner) {
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
  expect(timeoutMs: number, what: string): void {
    this.#timer?.cancel();
    this.#timer = this.#environment.setTimer(timeoutMs, () => {
      const reason = `no ${what} within ${String(timeoutMs)} ms`;
      if (this.#isUp) this.dismiss(reason);
      else this.destroy(reason);
    });
  }

  /** The handshake is done: large frames are let in, and silence is noticed. Who `asks` sends pings. */
  establish(idleMs: number, asks: boolean): void {
    this.#established = true;
    this.#reader.frameBytesMax = FRAME_BYTES_MAX;
    this.#heardAt = this.#environment.now();
    this.#watch(idleMs, asks);
  }

  say(control: ControlMessage): void {
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
  dismiss(reason: string): void {
    if (this.#state !== "open") return;
    this.say({ type: "goodbye", reason });
    this.#state = "leaving";
    this.#leavingReason = reason;
    // Closing at once with bytes unread would make the peer's system throw the reason away (RST).
    this.#connection.resume();
    this.#timer?.cancel();
    this.#timer = this.#environment.setTimer(LINGER_MS, () => {
      this.#connection.destroy(reason);
    });
  }

  /** Closes at once. */
  destroy(reason: string): void {
    this.#leavingReason ??= reason;
    if (this.#state === "open") this.#state = "leaving";
    this.#timer?.cancel();
    this.#connection.destroy(reason);
  }

  onOpen(): void {
    this.#isUp = true;
    if (this.#state === "open") this.#owner.onOpen?.();
  }

  onData(bytes: Uint8Array): void {
    if (this.#state !== "open") return;
    this.#isUp = true;
    this.#heardAt = this.#environment.now();
    try {
      this.#reader.feed(bytes);
      for (let frame = this.#reader.next(); frame !== null; frame = this.#reader.next()) {
        this.#handle(frame);
        if (!this.isOpen) return;
      }
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      this.dismiss(error.message);
    }
  }

  onClose(reason: string): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#timer?.cancel();
    this.#owner.onClosed(this.#leavingReason ?? reason);
  }

  #handle(frame: Frame): void {
    if (frame.type === "goodbye") {
      this.destroy(`the other end said: ${frame.reason}`);
    } else if (this.#established && frame.type === "ping") {
      this.#answer();
    } else if (!(this.#established && frame.type === "pong")) {
      this.#owner.onFrame(frame);
    }
  }

  #answer(): void {
    if (this.#connection.bufferedBytes > UNREAD_BYTES_MAX)
      this.destroy("it asks and does not read the answers");
    else this.say({ type: "pong" });
  }

  #watch(idleMs: number, asks: boolean): void {
    const periodMs = idleMs / CHECKS_PER_IDLE;
    const plannedAt = this.#environment.now() + periodMs;
    this.#timer?.cancel();
    this.#timer = this.#environment.setTimer(periodMs, () => {
      const now = this.#environment.now();
      // It was us who slept, not the peer: what it said meanwhile is about to be read.
      if (now - plannedAt > periodMs || this.#moves()) this.#heardAt = now;
      if (now - this.#heardAt >= idleMs) {
        this.destroy(`nothing heard for ${String(idleMs)} ms`);
        return;
      }
      if (asks) this.say({ type: "ping" });
      this.#watch(idleMs, asks);
    });
  }

  /**
   * Whether a full pipe moved since the last check. Then the peer is there, though our question may
   * be far behind in the queue. A pipe that is not full proves nothing: our own system takes bytes
   * for a peer that has long gone.
   */
  #moves(): boolean {
    const buffered = this.#connection.bufferedBytes;
    const taken = this.#writtenBytes - buffered;
    const moves = this.#wasFull && taken > this.#takenBytes;
    this.#wasFull = buffered > 0;
    this.#takenBytes = taken;
    return moves;
  }
}
