/** What processes cost, read from /proc: CPU time and resident memory. Linux only; elsewhere 0. */
import { readFileSync } from "node:fs";

/** /proc counts CPU time in hundredths of a second on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;
const KIB_PER_MIB = 1024;

/** User and system time of all threads since the process began. */
export function cpuSecondsOf(pid: number): number {
  // The name of the program stands in parentheses and may contain spaces; the fields follow it.
  const fields = readOf(pid, "stat").split(") ").at(-1)?.split(" ") ?? [];
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / TICKS_PER_SECOND;
}

/** VmRSS: what the process holds in physical memory, mapped files included. */
export function residentMibOf(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readOf(pid, "status"))?.[1] ?? 0) / KIB_PER_MIB;
}

function readOf(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, "utf8");
  } catch {
    return "";
  }
}
