// Reads and writes that are repeated until they are complete: an operating system may do any of them in part.
// Shared by Node's files and the simulated ones, so that the simulator tests this code (D6).

/** The most buffers that one `writev` takes (IOV_MAX on Linux and macOS). */
const WRITEV_CHUNKS_MAX = 1024;

/**
 * Reads until `target` is full or the file ends, and resolves with the number of bytes read. `readOnce` is
 * one call to the operating system: it resolves with the bytes that were read, 0 only at the end of the file.
 * A short read alone must not be taken for the end of the file, because recovery would then cut the log
 * there.
 */
export async function readFully(
  readOnce: (target: Uint8Array, position: number) => Promise<number>,
  target: Uint8Array,
  position: number,
): Promise<number> {
  let done = 0;
  while (done < target.length) {
    const count = await readOnce(target.subarray(done), position + done);
    if (count === 0) break;
    done += count;
  }
  return done;
}

/**
 * Writes until all chunks are written. `writeOnce` is one call to the operating system: it resolves with the
 * bytes that were written, counted from the start of the chunks. A short write is not an error by itself; if
 * there is a reason, such as a full disk, the next call rejects with it.
 */
export async function writeFully(
  writeOnce: (chunks: readonly Uint8Array[], position: number) => Promise<number>,
  chunks: readonly Uint8Array[],
  position: number,
): Promise<void> {
  let rest = chunks.filter((chunk) => chunk.length > 0);
  let at = position;
  while (rest.length > 0) {
    const count = await writeOnce(rest.slice(0, WRITEV_CHUNKS_MAX), at);
    if (count === 0) throw new Error(`a write at ${String(at)} wrote nothing and gave no reason`);
    at += count;
    rest = dropBytes(rest, count);
  }
}

/** What is left of `chunks` after their first `count` bytes. */
function dropBytes(chunks: readonly Uint8Array[], count: number): Uint8Array[] {
  let left = count;
  const rest: Uint8Array[] = [];
  for (const chunk of chunks) {
    if (left >= chunk.length) left -= chunk.length;
    else {
      rest.push(chunk.subarray(left));
      left = 0;
    }
  }
  return rest;
}
