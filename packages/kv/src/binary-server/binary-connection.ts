/**
 * One connection of the binary protocol: reads frames, begins their calls, and sends the answers of a turn in
 * one write.
 *
 * Back-pressure: nothing more is read while the client has too many calls in progress or takes its answers
 * too slowly, so that TCP slows it down. What is held meanwhile is charged. Frames, with an allowance for
 * each call, are charged to the budget for requests until all their calls are answered. Answers are charged
 * to that for answers until the system has taken them.
 */
import type { Socket } from "node:net";
import { ConnectionToken } from "../access/connection-token.ts";
import { AnswerWriter } from "../binary/answers.ts";
import { CallReader } from "../binary/calls.ts";
import { readGoodbye, readHello, readPing } from "../binary/control.ts";
import { checkVersion, FrameReader, type Frame } from "../binary/frame-reader.ts";
import { FRAME_BYTES_MAX, FRAMES, HELLO_BYTES_MAX, ProtocolError } from "../binary/wire.ts";
import type { MemoryAccount } from "../shared/memory-budget.ts";
import { AnswerRoom } from "./answer-room.ts";
import type { BinaryHost } from "./binary-host.ts";
import { CallRunner } from "./call-runner.ts";
import type { Turning } from "./turn-queue.ts";

/** Memory that a call takes besides its bytes, until it is answered: its objects here and in the node. */
const CALL_BYTES = 512;
/** Bytes given to the socket at a time, which the client must take within the deadline. */
const PART_BYTES = 256 * 1024;
/** How long the client may take to close its end after ours was closed. */
const LINGER_MS = 1000;

/** What a frame of calls holds until the last of them is answered. */
interface Held {
  readonly bytes: number;
  callsLeft: number;
}

export class BinaryConnection implements Turning {
  readonly #socket: Socket;
  readonly #host: BinaryHost;
  readonly #token: ConnectionToken;
  readonly #writer = new AnswerWriter();
  readonly #runner: CallRunner;
  readonly #reader: FrameReader;
  /** Charged for a frame that is being received. */
  readonly #partial: MemoryAccount;
  /** Charged for the frames whose calls aren't all answered. */
  readonly #frames: MemoryAccount;
  /** Charged for answers. */
  readonly #room: AnswerRoom;
  #state: "opening" | "hello" | "open" | "leaving" = "opening";
  /** The connection is gone. */
  #isOver = false;
  /**
   * The last frame's calls that weren't begun, and how many they are. They stay bytes until then: thousands
   * of objects for each of many frames that wait are more than the frames. null: there is none.
   */
  #calls: CallReader | null = null;
  #left = 0;
  /** What the last frame holds. */
  #held: Held = { bytes: 0, callsLeft: 0 };
  /** Calls that were begun and aren't answered. */
  #inProgress = 0;
  /** Frames of calls that were taken: a client may send the calls of later ones elsewhere. */
  #framesTaken = 0;
  /** Bytes of the room that what is in the writer holds. */
  #writtenHeld = 0;
  /** Bytes given to the socket that the system hasn't taken, and what they hold of the room. */
  #sending = 0;
  #sendingHeld = 0;
  /** When the system last took something, by `performance.now`; meaningful while `#sending` isn't 0. */
  #sendingSince = 0;
  #isPaused = false;
  #isIdle = true;
  readonly #openedAt = performance.now();
  #receivedAt = performance.now();
  /** Since when a frame isn't complete. null: there is none. */
  #insideSince: number | null = null;

  constructor(socket: Socket, host: BinaryHost) {
    this.#socket = socket;
    this.#host = host;
    this.#token = new ConnectionToken(host.access);
    const { requests, answers } = host.budgets;
    this.#partial = requests.open();
    this.#frames = requests.open();
    this.#room = new AnswerRoom(answers.open());
    this.#reader = new FrameReader(this.#partial);
    this.#runner = new CallRunner({
      host,
      token: this.#token,
      writer: this.#writer,
      room: this.#room,
      onHeld: (bytes) => {
        this.#writtenHeld += bytes;
      },
      isOver: () => this.#isOver,
    });
    socket.on("data", (chunk: Buffer) => {
      this.#onData(chunk);
    });
    // The client has closed its half. It gets the answers to what it asked.
    socket.on("end", () => {
      this.#leave(null);
    });
    socket.on("error", () => {
      socket.destroy();
    });
    socket.once("close", () => {
      this.#onClose();
    });
    socket.resume();
  }

  /** Since when (`performance.now`) the server waits for the client to send or to take something. */
  get waitsSince(): number | null {
    return this.#sending > 0 ? this.#sendingSince : this.#insideSince;
  }

  /** Says goodbye, and closes the connection once the calls that were taken are answered. */
  leave(code: string, message: string): void {
    this.#leave({ code, message });
  }

  /** Closes the connection if the client is late. `now`: by `performance.now`. */
  checkDeadlines(now: number): void {
    const { helloMsMax, frameMsMax, answerPartMsMax, idleMsMax } = this.#host.limits;
    if (this.#sending > 0 && now - this.#sendingSince > answerPartMsMax) {
      this.#destroy();
    } else if (this.#state === "opening" || this.#state === "hello") {
      if (now - this.#openedAt > helloMsMax) this.leave("TOO_SLOW", "the opening or the hello did not come");
    } else if (this.#insideSince !== null && now - this.#insideSince > frameMsMax) {
      this.leave("TOO_SLOW", "the rest of a frame did not come");
    } else if (this.#isIdle && now - this.#receivedAt > idleMsMax) {
      this.leave("IDLE", `nothing came for ${idleMsMax / 1000} s`);
    }
  }

  #onData(chunk: Buffer): void {
    this.#receivedAt = performance.now();
    // What comes after a goodbye isn't looked at. It is read, or the system would reset the connection and
    // drop the last answers.
    if (this.#isOver || this.#state === "leaving") return;
    this.#partial.stopWaiting();
    this.#reader.push(chunk);
    this.proceed();
  }

  proceed(): void {
    if (this.#isOver) return;
    try {
      while (this.#left > 0 || this.#state !== "leaving") {
        if (this.#mustWait()) {
          this.#pause();
          break;
        }
        if (!this.#host.slots.isFree(this.#inProgress)) {
          this.#pause();
          this.#host.slots.wait(this);
          break;
        }
        if (this.#host.turns.isSpent) {
          this.#pause();
          this.#host.turns.proceedLater(this);
          break;
        }
        if (this.#left > 0) this.#begin();
        else if (!this.#readOne()) {
          this.#unpause();
          break;
        }
      }
    } catch (error) {
      if (!(error instanceof ProtocolError)) this.#host.onInternalError(error);
      const code = error instanceof ProtocolError ? error.code : "INTERNAL";
      this.leave(code, error instanceof ProtocolError ? error.message : "the server made a mistake");
    }
    // What still comes is discarded as it comes.
    if (this.#state === "leaving" && this.#left === 0) this.#unpause();
    this.#watchPartial();
    if (this.#writer.length > 0) this.#host.turns.flushLater(this);
    this.#host.slots.passOn();
    this.#settle();
  }

  /** Whether a limit is reached below which nothing more is begun or read. */
  #mustWait(): boolean {
    const { callsMax, unsentBytesMax } = this.#host.limits;
    return this.#inProgress >= callsMax || this.#writer.length + this.#sending > unsentBytesMax;
  }

  /** Reads the opening or a frame. False: it isn't complete. @throws ProtocolError */
  #readOne(): boolean {
    if (this.#state === "opening") {
      const version = this.#reader.opening();
      if (version === "incomplete") return false;
      this.#state = "hello";
      this.#writer.opening();
      checkVersion(version);
      return true;
    }
    const frame = this.#reader.next(this.#state === "hello" ? HELLO_BYTES_MAX : FRAME_BYTES_MAX);
    if (frame === "incomplete") return false;
    if (frame === "no-room") {
      this.leave("OVERLOADED", FULL);
      return false;
    }
    if (this.#state === "hello") this.#onHello(frame);
    else this.#onFrame(frame);
    return true;
  }

  #onHello(frame: Frame): void {
    if (frame.type !== FRAMES.hello) throw new ProtocolError("BAD_FRAME", "the first frame isn't a hello");
    const { token } = readHello(frame.payload);
    if (token !== null) this.#token.offer(token);
    if (this.#token.isStranger) {
      const what = token === null ? "no token came" : "the token is wrong";
      this.leave("UNAUTHORIZED", `${what}; reading and writing need one, sent in the hello`);
      return;
    }
    const { callsMax, idleMsMax } = this.#host.limits;
    this.#state = "open";
    this.#writer.welcome({ features: 0, frameBytesMax: FRAME_BYTES_MAX, callsMax, idleMs: idleMsMax });
  }

  #onFrame({ type, payload, heldBytes }: Frame): void {
    switch (type) {
      case FRAMES.calls:
        this.#takeCalls(payload, heldBytes);
        break;
      case FRAMES.ping:
        this.#writer.pong(readPing(payload));
        break;
      case FRAMES.goodbye:
        readGoodbye(payload);
        this.#leave(null);
        break;
      default:
        throw new ProtocolError("BAD_FRAME", `a frame of type ${type}, which a client doesn't send`);
    }
  }

  /** Takes a frame of calls, all of them or none. @throws ProtocolError */
  #takeCalls(payload: Uint8Array, heldBytes: number): void {
    const bytes = heldBytes === 0 ? payload.length : heldBytes;
    if (!this.#frames.take(bytes)) {
      this.leave("OVERLOADED", FULL);
      return;
    }
    let hasTaken = false;
    try {
      const calls = countOf(payload);
      if (!this.#frames.take(calls * CALL_BYTES)) {
        this.leave("OVERLOADED", FULL);
        return;
      }
      hasTaken = true;
      this.#framesTaken += 1;
      this.#calls = calls === 0 ? null : new CallReader(heldBytes === 0 ? copyOf(payload) : payload);
      this.#left = calls;
      this.#held = { bytes: bytes + calls * CALL_BYTES, callsLeft: calls };
      if (calls === 0) this.#frames.give(bytes);
    } finally {
      if (!hasTaken) this.#frames.give(bytes);
    }
  }

  #begin(): void {
    const call = this.#calls?.next() ?? null;
    if (call === null) throw new Error("a frame has fewer calls than were counted");
    this.#left -= 1;
    const held = this.#held;
    // The frame must not outlive the calls that use it.
    if (this.#left === 0) this.#calls = null;
    this.#inProgress += 1;
    this.#host.slots.take();
    this.#settle();
    void this.#runner.run(call).then(() => {
      this.#inProgress -= 1;
      this.#host.slots.give();
      held.callsLeft -= 1;
      if (held.callsLeft === 0) this.#frames.give(held.bytes);
      if (this.#isOver) return;
      this.#host.turns.flushLater(this);
      if (this.#isPaused && !this.#mustWait()) this.#host.turns.proceedLater(this);
    });
  }

  flush(): void {
    if (this.#isOver || this.#sending > 0) return;
    if (this.#writer.length === 0) {
      this.#settle();
      return;
    }
    // The answers themselves must be sent whether or not there is room: they say what was done.
    const more = Math.max(0, this.#writer.capacity - this.#writtenHeld);
    if (this.#room.take(more)) this.#writtenHeld += more;
    const bytes = this.#writer.take();
    this.#sending = bytes.length;
    this.#sendingHeld = this.#writtenHeld;
    this.#writtenHeld = 0;
    this.#room.waitForClient(() => {
      this.#destroy();
    });
    this.#send(bytes);
    this.#settle();
  }

  #send(bytes: Buffer): void {
    const part = bytes.length <= PART_BYTES ? bytes : bytes.subarray(0, PART_BYTES);
    this.#sendingSince = performance.now();
    this.#socket.write(part, (error) => {
      if (this.#isOver || (error !== null && error !== undefined)) return;
      if (part.length < bytes.length) this.#send(bytes.subarray(PART_BYTES));
      else this.#onSent();
    });
  }

  #onSent(): void {
    this.#sending = 0;
    this.#room.give(this.#sendingHeld);
    this.#sendingHeld = 0;
    this.#room.stopWaiting();
    if (this.#writer.length > 0) this.#host.turns.flushLater(this);
    if (this.#isPaused && !this.#mustWait()) this.#host.turns.proceedLater(this);
    this.#settle();
  }

  /** Takes no more frames. `goodbye` null: without a word, because the client has left. */
  #leave(goodbye: { readonly code: string; readonly message: string } | null): void {
    if (this.#isOver || this.#state === "leaving") return;
    // The client has not shown that it speaks this protocol.
    if (this.#state === "opening") {
      this.#destroy();
      return;
    }
    this.#state = "leaving";
    this.#reader.close();
    this.#insideSince = null;
    if (goodbye !== null) this.#writer.goodbye({ ...goodbye, framesTaken: this.#framesTaken });
    if (this.#isPaused) this.#host.turns.proceedLater(this);
    this.#host.turns.flushLater(this);
  }

  /** Says whether the connection is idle, and ends it if it is leaving and everything is answered. */
  #settle(): void {
    if (this.#isOver) return;
    const isIdle = this.#inProgress === 0 && this.#left === 0 && this.#sending + this.#writer.length === 0;
    if (isIdle !== this.#isIdle) {
      this.#isIdle = isIdle;
      this.#host.onIdle(this.#socket, isIdle);
    }
    if (isIdle && this.#state === "leaving") this.#end();
  }

  #end(): void {
    if (this.#socket.writableEnded) return;
    this.#socket.end();
    this.#unpause();
    const timer = setTimeout(() => {
      this.#socket.destroy();
    }, LINGER_MS);
    this.#socket.once("close", () => {
      clearTimeout(timer);
    });
  }

  /** Notes whether the client owes the rest of a frame, which may then be evicted. */
  #watchPartial(): void {
    if (this.#state === "leaving" || !this.#reader.isInside) {
      this.#insideSince = null;
      return;
    }
    this.#insideSince ??= performance.now();
    this.#partial.waitForClient(() => {
      this.leave("TOO_SLOW", "the rest of a frame did not come, and others need its room");
    });
  }

  #pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#socket.pause();
  }

  #unpause(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#socket.resume();
  }

  #destroy(): void {
    this.#socket.destroy();
    this.#onClose();
  }

  #onClose(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#host.turns.remove(this);
    this.#host.slots.remove(this);
    this.#host.slots.passOn();
    this.#reader.close();
    this.#room.close();
    this.#writer.drop();
    // Calls that weren't begun won't be. Those that were give back what their frame holds when they end.
    const left = this.#left;
    this.#calls = null;
    this.#left = 0;
    if (left === 0) return;
    this.#held.callsLeft -= left;
    if (this.#held.callsLeft === 0) this.#frames.give(this.#held.bytes);
  }
}

const FULL = "the server holds too many bytes of requests already; try again";

/** How many calls a frame has; all of them are checked. @throws ProtocolError */
function countOf(payload: Uint8Array): number {
  const reader = new CallReader(payload);
  let calls = 0;
  while (reader.next() !== null) calls += 1;
  return calls;
}

/** A copy in memory of its own: a part of a chunk would keep all of the chunk. */
function copyOf(payload: Uint8Array): Uint8Array {
  const copy = Buffer.allocUnsafeSlow(payload.length);
  copy.set(payload);
  return copy;
}
