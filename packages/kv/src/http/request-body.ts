/**
 * Receives request bodies within two limits: the bytes of one body, and of all bodies that are held at once.
 */
import type { IncomingMessage } from "node:http";
import { VALUE_BYTES_MAX } from "../store/commands.ts";
import type { MemoryAccount, MemoryBudget } from "../shared/memory-budget.ts";
import { PieceBuffer } from "../shared/piece-buffer.ts";
import { VALUE_TOO_LARGE } from "../operations/failures.ts";
import { answerOf, errorAnswer, overloaded, type ErrorAnswer } from "./error-answers.ts";
import { BadRequestError } from "./request-syntax.ts";

/**
 * The body of one request, which is received from the moment the request arrives. Its bytes count toward the
 * budget until `drop`; a Content-Length alone reserves nothing.
 */
export class RequestBody {
  readonly #account: MemoryAccount;
  readonly #pieces: PieceBuffer;
  readonly #bytesMax: number;
  readonly #budget: MemoryBudget;
  readonly #whole: Promise<Buffer | ErrorAnswer>;
  /**
   * Bytes of the body that are still to come, by its Content-Length. 0 without a Content-Length, and when
   * receiving has ended.
   */
  #bytesLeft: number;
  /** Stops receiving: what still comes is discarded. Does nothing when all has been received or refused. */
  #discard: () => void = () => undefined;

  constructor(incoming: IncomingMessage, budget: MemoryBudget) {
    const stated = incoming.headers["content-length"];
    this.#budget = budget;
    this.#account = budget.open();
    this.#bytesMax = stated === undefined ? VALUE_BYTES_MAX : Math.min(Number(stated), VALUE_BYTES_MAX);
    this.#pieces = new PieceBuffer(this.#account, this.#bytesMax);
    this.#bytesLeft = Number(stated ?? 0);
    this.#whole =
      Number(stated ?? 0) > VALUE_BYTES_MAX
        ? Promise.resolve(tooLarge())
        : this.#receive(incoming, Number(stated ?? 0));
    // A route that doesn't look at the body must not make its failure an unhandled rejection.
    this.#whole.catch(() => undefined);
  }

  /**
   * When the client last sent something of the body, by `performance.now`. null: the body isn't waited for.
   */
  get waitsSince(): number | null {
    return this.#account.waitsSince;
  }

  /**
   * How many of the connection's next bytes can only be this body's. Node's parser makes one object of them,
   * however many there are. 0: not known.
   */
  get bytesLeft(): number {
    return this.#bytesLeft;
  }

  /**
   * The whole body, or the answer that refuses it.
   *
   * @throws BadRequestError the client closed the connection first
   */
  whole(): Promise<Buffer | ErrorAnswer> {
    return this.#whole;
  }

  /** To be called when the body isn't used any more; the client may still be sending it. */
  drop(): void {
    this.#discard();
    this.#pieces.drop();
  }

  /** `stated`: the body's Content-Length; 0: there is none. */
  #receive(incoming: IncomingMessage, stated: number): Promise<Buffer | ErrorAnswer> {
    return new Promise((resolve, reject) => {
      const stop = (): void => {
        this.#discard = () => undefined;
        this.#bytesLeft = 0;
        this.#account.stopWaiting();
        incoming.off("data", onData).off("end", onEnd).off("error", onEarlyEnd).off("close", onEarlyEnd);
      };
      const refuse = (answer: ErrorAnswer): void => {
        // The rest stays unread; the connection closes after the answer.
        incoming.pause();
        incoming.socket.pause();
        stop();
        this.#pieces.drop();
        resolve(answer);
      };
      const onData = (piece: Buffer): void => {
        this.#bytesLeft = Math.max(0, this.#bytesLeft - piece.length);
        // Most bodies come in one piece.
        if (piece.length === stated && this.#pieces.keep(piece)) return;
        if (this.#pieces.length + piece.length > this.#bytesMax) refuse(tooLarge());
        else if (!this.#pieces.push(piece)) refuse(this.#noRoom());
      };
      const onEnd = (): void => {
        stop();
        resolve(this.#pieces.take());
      };
      const onEarlyEnd = (): void => {
        stop();
        this.#pieces.drop();
        reject(new BadRequestError("the request ended before its body was complete"));
      };
      this.#account.waitForClient(() => {
        refuse(stalled());
      });
      this.#discard = () => {
        stop();
        incoming.resume();
      };
      incoming.on("data", onData).on("end", onEnd).on("error", onEarlyEnd).on("close", onEarlyEnd);
    });
  }

  #noRoom(): ErrorAnswer {
    const { headers, ...answer } = overloaded(
      `the server holds ${this.#budget.bytes} bytes of requests already; the limit is ${this.#budget.bytesMax}`,
    );
    return { ...answer, headers: { ...headers, ...CLOSE } };
  }
}

/** The connection must close: its next bytes are the unread rest of the body, not another request. */
const CLOSE = { Connection: "close" };

function tooLarge(): ErrorAnswer {
  return { ...answerOf(VALUE_TOO_LARGE), headers: CLOSE };
}

function stalled(): ErrorAnswer {
  return errorAnswer(408, "TOO_SLOW", "the body stopped coming while others waited for its room", CLOSE);
}
