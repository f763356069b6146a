/** Reads request bodies within two limits: the bytes of one body, and of all bodies being read at once. */
import type { IncomingMessage } from "node:http";
import { VALUE_BYTES_MAX } from "../store/commands.ts";
import { errorAnswer, overloaded, type ErrorAnswer } from "./error-answers.ts";
import { BadRequestError } from "./request-syntax.ts";

/** The most bytes of bodies being read at once, over all requests. Bounds the memory that they take. */
const BODIES_BYTES_MAX = 128 * 1024 * 1024;

/** Reads bodies of at most `VALUE_BYTES_MAX` bytes. */
export class BodyReader {
  /** Bytes reserved for bodies being read: their Content-Length, or the most that one may have. */
  #reservedBytes = 0;

  /** The whole body, or the answer that refuses it. */
  async read(incoming: IncomingMessage): Promise<Buffer | ErrorAnswer> {
    const stated = incoming.headers["content-length"];
    const bytesMax = stated === undefined ? VALUE_BYTES_MAX : Number(stated);
    if (bytesMax > VALUE_BYTES_MAX) return tooLarge();
    if (this.#reservedBytes + bytesMax > BODIES_BYTES_MAX) {
      return overloaded(`${BODIES_BYTES_MAX} bytes of values are on their way already`);
    }
    this.#reservedBytes += bytesMax;
    try {
      return (await readAll(incoming)) ?? tooLarge();
    } finally {
      this.#reservedBytes -= bytesMax;
    }
  }
}

/**
 * Resolves with the body. null: it is larger than a value may be, and the rest stays unread. Rejects if the
 * client closes the connection first.
 */
function readAll(incoming: IncomingMessage): Promise<Buffer | null> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const settle = (run: () => void): void => {
      incoming.off("data", onData).off("end", onEnd).off("error", onEarlyEnd).off("close", onEarlyEnd);
      run();
    };
    const onData = (chunk: Buffer): void => {
      bytes += chunk.length;
      chunks.push(chunk);
      if (bytes <= VALUE_BYTES_MAX) return;
      incoming.pause();
      settle(() => {
        resolve(null);
      });
    };
    const onEnd = (): void => {
      settle(() => {
        resolve(Buffer.concat(chunks, bytes));
      });
    };
    const onEarlyEnd = (): void => {
      settle(() => {
        reject(new BadRequestError("the request ended before its body was complete"));
      });
    };
    incoming.on("data", onData).on("end", onEnd).on("error", onEarlyEnd).on("close", onEarlyEnd);
  });
}

/** The connection must close: its next bytes are the unread rest of the body, not another request. */
function tooLarge(): ErrorAnswer {
  return errorAnswer(413, "VALUE_TOO_LARGE", `a value has at most ${VALUE_BYTES_MAX} bytes`, {
    Connection: "close",
  });
}
