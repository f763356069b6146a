/** The most buffers one `writev` takes (IOV_MAX on Linux and macOS). */
const WRITEV_CHUNKS_MAX = 1024;

/**
 * Reads until `target` is full or the file ends: an operating system may return fewer bytes than it was
 * asked for, at any place. `readOnce` is one call to it. Resolves with the bytes read.
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
 * Writes until all is written. A short write is no error yet: the next call says what is wrong, if anything
 * is. `writeOnce` is one call to the operating system; it resolves with the bytes that were written.
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
