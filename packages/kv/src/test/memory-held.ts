/** Measures the memory that this process holds once its garbage is collected. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

/**
 * What the process uses after a garbage collection. It is run twice: the first may only queue what it frees.
 */
export function usageAfterCollection(): NodeJS.MemoryUsage {
  collectGarbage();
  collectGarbage();
  return process.memoryUsage();
}

/** Bytes of objects in the heap, and of buffers outside of it, after a garbage collection. */
export function memoryHeld(): number {
  const { heapUsed, arrayBuffers } = usageAfterCollection();
  return heapUsed + arrayBuffers;
}
