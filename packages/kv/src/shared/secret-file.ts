/** Reads files that hold secrets, and refuses those that others can read or change. */
import { open } from "node:fs/promises";
import { reasonOf, StartError } from "./errors.ts";

/**
 * The largest of these files is a list of certificates; an endless file, such as a device, must not fill
 * memory.
 */
const BYTES_MAX = 1024 * 1024;
/**
 * Everyone's bits, and the group's bit for writing. The group may read: that is how containers get secrets.
 */
const TOO_OPEN = 0o027;

/**
 * The text of a file. `isSecret`: nobody but its owner and group may have access to it, and the group may
 * only read it. Windows has no such modes.
 *
 * @throws StartError it can't be read, or others can read or change it; the message begins with `what`
 */
export async function readFileOf(file: string, what: string, isSecret = true): Promise<string> {
  try {
    const handle = await open(file, "r");
    try {
      const { mode } = await handle.stat();
      if (isSecret && process.platform !== "win32" && (mode & TOO_OPEN) !== 0) {
        const octal = (mode & 0o777).toString(8).padStart(3, "0");
        throw new StartError(
          `${what} in ${file} is open to other users of this machine (mode ${octal}): chmod 600 ${file}`,
        );
      }
      const buffer = Buffer.alloc(BYTES_MAX + 1);
      let bytes = 0;
      for (let read = -1; read !== 0 && bytes < buffer.length; bytes += read)
        read = (await handle.read(buffer, bytes, buffer.length - bytes)).bytesRead;
      if (bytes > BYTES_MAX) throw new StartError(`${what} in ${file} is larger than ${BYTES_MAX} bytes`);
      return buffer.toString("utf8", 0, bytes);
    } finally {
      await handle.close();
    }
  } catch (cause) {
    if (cause instanceof StartError) throw cause;
    throw new StartError(`${what} in ${file} cannot be read: ${reasonOf(cause)}`, { cause });
  }
}
