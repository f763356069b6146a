// keelson/storage/memory: the log in memory.

export { memoryLog } from "./memory-log.ts";
