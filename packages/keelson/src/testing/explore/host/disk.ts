// What writes, snapshots and crashes make of a node's disk.
import { EMPTY_CONFIG, ORIGIN, type LogImage, type TermRun } from "../../../core/index.ts";
import { invariant } from "../shared/violation.ts";
import { configsIn } from "./entry.ts";
import type { Disk, Host, Write } from "./host-state.ts";

/**
 * In how many steps a write reaches the disk: the hard state, the truncation, then each entry. A crash may
 * keep any number of them, in this order.
 */
export function stepsOf(write: Write): number {
  return (write.hardState === null ? 0 : 1) + (write.truncateFrom === null ? 0 : 1) + write.entries.length;
}

/** The disk after at most `steps` steps of a write, and how many steps are left for the writes after it. */
export function afterWrite(disk: Disk, write: Write, steps: number): { disk: Disk; left: number } {
  const { covered } = disk;
  let { hardState, log } = disk;
  let left = steps;
  if (write.hardState !== null && left > 0) {
    hardState = write.hardState;
    left -= 1;
  }
  if (write.truncateFrom !== null && left > 0) {
    log = log.slice(0, write.truncateFrom - 1);
    left -= 1;
  }
  if (write.entries.length > 0 && left > 0) {
    invariant(
      log.length === write.from - 1,
      () => `DRIVER: a write begins at ${write.from} after ${log.length}`,
    );
    log = [...log, ...write.entries.slice(0, left)];
    left -= Math.min(left, write.entries.length);
  }
  return { disk: { hardState, log, covered }, left };
}

/**
 * The disk after installing a snapshot: the entries after it stay if the log held the snapshot's last entry.
 */
export function afterInstall(disk: Disk, wanted: Host["wanted"]): Disk {
  if (wanted === null || wanted.offer.last.index <= disk.covered) return disk;
  const { last } = wanted.offer;
  const held = disk.log[last.index - 1]?.term === last.term;
  const log = [...wanted.entries, ...(held ? disk.log.slice(last.index) : [])];
  return { ...disk, log, covered: last.index };
}

/** What the core needs to know of a stored log. */
export function imageOf({ log, covered }: Pick<Disk, "log" | "covered">): LogImage {
  const terms: TermRun[] = [];
  for (const [at, { term }] of log.entries()) {
    if (at >= covered && terms.at(-1)?.term !== term) terms.push({ index: at + 1, term });
  }
  const term = log[covered - 1]?.term;
  const base = term === undefined ? ORIGIN : { term, index: covered };
  const all = configsIn(log);
  const baseConfig = all.findLast(({ index }) => index <= covered)?.config ?? EMPTY_CONFIG;
  const configs = all.filter(({ index }) => index > covered);
  return { base, baseConfig, terms, configs, lastIndex: log.length };
}
