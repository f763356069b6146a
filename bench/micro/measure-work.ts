/**
 * One piece of work of the `micro` part, in a process of its own: prints how often it was done per second of
 * this process's CPU time, after a warm-up.
 *
 *   node bench/micro/measure-work.ts WORK MS
 */
import { decodeRecord, encodeRecord, EntryKind } from "keelson/codec";

const WARM_UP_MS = 200;
/** How often work is done between two looks at the CPU time, which cost a system call. */
const TIMES = 200;

const PAYLOAD = new Uint8Array(256).fill(7);

/** What each returns keeps the compiler from leaving work out. */
const WORKS: Readonly<Record<string, () => number>> = {
  /** Work that no change of Keelson makes faster or slower: small objects, a map, and a sum over bytes. */
  reference: () => {
    const map = new Map<number, { readonly at: number; readonly bytes: Uint8Array }>();
    for (let at = 0; at < 16; at++) map.set(at * 7919, { at, bytes: PAYLOAD.slice(at) });
    let sum = 0;
    for (const { at, bytes } of map.values()) {
      sum += at;
      for (const byte of bytes) sum = (Math.imul(sum, 31) + byte) | 0;
    }
    return sum;
  },
  /** A log entry to bytes and back, with its checksum, as every member does it with every entry. */
  record: () => {
    const record = encodeRecord(12_345, 3, EntryKind.command, PAYLOAD);
    return decodeRecord(record).payload.length;
  },
};

const [name = "", msText = ""] = process.argv.slice(2);
const work = WORKS[name];
if (work === undefined) throw new Error(`no such work: ${name}`);
run(work, WARM_UP_MS);
const before = cpuMs();
const times = run(work, Number(msText));
console.log(Math.round((times * 1000) / (cpuMs() - before)));

function run(doWork: () => number, ms: number): number {
  const until = cpuMs() + ms;
  let [count, sum] = [0, 0];
  do {
    for (let time = 0; time < TIMES; time++) sum += doWork();
    count += TIMES;
  } while (cpuMs() < until);
  if (Number.isNaN(sum)) throw new Error("the work has no result");
  return count;
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
