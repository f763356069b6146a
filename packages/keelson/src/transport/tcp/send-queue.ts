import type { EncodedFrame } from "../../codec/frame.ts";

/** A piece of this size or more goes out as it is; smaller ones are cheaper to copy than to list. */
const COPY_BYTES_MAX = 16 * 1024;

/** Frames that wait for the end of the turn, to leave in one write. */
export class SendQueue {
  #chunks: Uint8Array[] = [];
  #bytes = 0;

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

  /** Empties the box into `write`: runs of small pieces joined, large ones as they are. */
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

function joined(chunks: readonly Uint8Array[], from: number, to: number, bytes: number): Uint8Array {
  const first = chunks[from];
  if (to - from === 1 && first !== undefined) return first;
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
