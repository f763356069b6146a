import type { IncomingMessage } from "node:http";
import { VALUE_BYTES_MAX } from "../store/commands.ts";
import { BadRequestError } from "./request-syntax.ts";
import { errorAnswer, overloaded, type ErrorAnswer } from "./error-answers.ts";

/** The bodies being read at once take no more memory than this. */
const BODIES_BYTES_MAX = 128 * 1024 * 1024;

/** Reads the bodies of requests, within limits on each and on all together. */
export class BodyReader {
  #bytes = 0;

  /** The whole body, or why it was not read. */
  async read(incoming: IncomingMessage): Promise<Buffer | ErrorAnswer> {
    const stated = incoming.headers["content-length"];
    const bytesMax = stated === undefined ? VALUE_BYTES_MAX : Number(stated);
    if (bytesMax > VALUE_BYTES_MAX) return tooLarge();
    if (this.#bytes + bytesMax > BODIES_BYTES_MAX) {
      return overloaded(`${BODIES_BYTES_MAX} bytes of values are on their way already`);
    }
    this.#bytes += bytesMax;
    try {
      return (await readAll(incoming)) ?? tooLarge();
    } finally {
      this.#bytes -= bytesMax;
    }
  }
}

/** null: there is more than a value may have; the rest is left unread. Rejects when the client goes away. */
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

/** The connection is closed after it, since the rest of the body is in the way of another request. */
function tooLarge(): ErrorAnswer {
  return errorAnswer(413, "VALUE_TOO_LARGE", `a value has at most ${VALUE_BYTES_MAX} bytes`, {
    Connection: "close",
  });
}
