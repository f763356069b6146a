import { once } from "node:events";
import type { Socket } from "node:net";
import { AnswerReader, type Answer } from "../binary/answers.ts";
import { CallWriter } from "../binary/calls.ts";
import { readGoodbye, readPing, readWelcome, type Goodbye, type Welcome } from "../binary/control.ts";
import { FrameReader } from "../binary/frame-reader.ts";
import { FRAME_BYTES_MAX, FRAMES } from "../binary/wire.ts";
import { connectTo } from "./raw-client.ts";

/** Speaks the binary protocol, without retries: what it does to the bytes is up to the test. */
export class BinaryClient {
  readonly socket: Socket;
  readonly writer = new CallWriter();
  readonly answers = new Map<number, Answer>();
  /** In the order in which they came. */
  readonly order: number[] = [];
  readonly pongs: number[] = [];
  /** How many frames of answers came. */
  frames = 0;
  welcome: Welcome | null = null;
  goodbye: Goodbye | null = null;
  isClosed = false;
  readonly #reader = new FrameReader();
  #isOpen = false;
  /** Ends the waits for something to come. */
  readonly #waiting: (() => void)[] = [];
  #nextId = 1;

  constructor(socket: Socket, token: string | null = null) {
    this.socket = socket;
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => {
      this.#reader.push(chunk);
      this.#read();
      this.#wake();
    });
    socket.once("close", () => {
      this.isClosed = true;
      this.#wake();
    });
    this.writer.opening();
    this.writer.hello({ features: 0, token });
  }

  /** Connects to "host:port" and says hello. */
  static async connect(address: string, token: string | null = null): Promise<BinaryClient> {
    const client = new BinaryClient(await connectTo(address), token);
    client.send();
    return client;
  }

  get nextId(): number {
    return this.#nextId++;
  }

  send(): void {
    this.socket.write(this.writer.take());
  }

  /** Writes a call by `write`, which gets its id, sends it, and resolves with the answer. */
  async call(write: (writer: CallWriter, id: number) => void): Promise<Answer> {
    const id = this.nextId;
    write(this.writer, id);
    this.send();
    return this.answer(id);
  }

  /** Rejects if the connection closes first. */
  async answer(id: number): Promise<Answer> {
    await this.until(() => this.answers.has(id) || this.isClosed);
    const answer = this.answers.get(id);
    if (answer === undefined) throw new Error(`closed without an answer: ${JSON.stringify(this.goodbye)}`);
    return answer;
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    }
  }

  /** Resolves with the server's goodbye once it has closed the connection. null: it said none. */
  async closed(): Promise<Goodbye | null> {
    if (!this.isClosed) await once(this.socket, "close");
    return this.goodbye;
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  #read(): void {
    if (!this.#isOpen) {
      const version = this.#reader.opening();
      if (version === "incomplete") return;
      this.#isOpen = true;
    }
    for (;;) {
      const frame = this.#reader.next(FRAME_BYTES_MAX);
      if (typeof frame !== "object") return;
      const { type, payload } = frame;
      if (type === FRAMES.welcome) this.welcome = readWelcome(payload);
      else if (type === FRAMES.goodbye) this.goodbye = readGoodbye(payload);
      else if (type === FRAMES.pong) this.pongs.push(readPing(payload));
      else this.#take(payload);
    }
  }

  #take(payload: Uint8Array): void {
    this.frames += 1;
    const reader = new AnswerReader(payload);
    for (let answer = reader.next(); answer !== null; answer = reader.next()) {
      if (this.answers.has(answer.id)) throw new Error(`a second answer to call ${answer.id}`);
      this.answers.set(answer.id, answer);
      this.order.push(answer.id);
    }
  }
}
