import type { EncodedFrame } from "../../codec/frame.ts";

/**
 * Smaller pieces are copied into one buffer before they are written: passing each to the socket by itself
 * costs more than the copy. Larger ones are written as they are.
 */
const COPY_BYTES_MAX = 16 * 1024;

/**
 * The frames that one turn sends to one peer, kept until the end of the turn so that they leave in few
 * writes.
 */
export class SendQueue {
  /**
   * The pieces of the queued frames, in order. The sender shares their bytes, and must not change them.
   */
  #chunks: Uint8Array[] = [];
  /** The sum of the pieces' lengths. */
  #bytes = 0;

  /** Bytes queued. */
  get bytes(): number {
    return this.#bytes;
  }

  add(frame: EncodedFrame): void {
    this.#bytes += frame.bytes;
    for (const chunk of frame.chunks) this.#chunks.push(chunk);
  }

  clear(): void {
    this.#chunks = [];
    this.#bytes = 0;
  }

  /**
   * Empties the queue into `write`, in order: each run of small pieces as one buffer, each large piece as it
   * is.
   */
  flush(write: (bytes: Uint8Array) => void): void {
    const chunks = this.#chunks;
    this.clear();
    let from = 0;
    let runBytes = 0;
    for (let at = 0; at < chunks.length; at++) {
      const chunk = chunks[at];
      if (chunk === undefined) break;
      if (chunk.length < COPY_BYTES_MAX) {
        runBytes += chunk.length;
        continue;
      }
      if (runBytes > 0) write(joined(chunks, from, at, runBytes));
      write(chunk);
      from = at + 1;
      runBytes = 0;
    }
    if (runBytes > 0) write(joined(chunks, from, chunks.length, runBytes));
  }
}

/**
 * The bytes of `chunks` in [from, to), `bytes` in all, as one buffer. A single chunk is returned without a
 * copy if it has memory of its own. A view is copied: it would keep all of the memory behind it alive while
 * it waits in the socket, where only its own bytes are counted (Z11). Large chunks aren't copied: a record
 * of that size has memory of its own, or shares it with the rest of the message.
 */
function joined(chunks: readonly Uint8Array[], from: number, to: number, bytes: number): Uint8Array {
  const first = chunks[from];
  if (to - from === 1 && first !== undefined && first.length === first.buffer.byteLength) return first;
  const whole = new Uint8Array(bytes);
  let offset = 0;
  for (let at = from; at < to; at++) {
    const chunk = chunks[at];
    if (chunk === undefined) break;
    whole.set(chunk, offset);
    offset += chunk.length;
  }
  return whole;
}
