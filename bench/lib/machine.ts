/** What a report says of the machine and the commit it was measured with. */
import { execFileSync } from "node:child_process";
import { cpus, loadavg, totalmem } from "node:os";
import path from "node:path";

const GIB = 1024 ** 3;

/** The load average before the benchmark began: what other programs wanted of the cores. */
const [LOAD_BEFORE = 0] = loadavg();

/** In general terms: what matters for the ratios, not which machine it was. */
export function machineFacts(): string {
  const memory = Math.round(totalmem() / GIB);
  return (
    `${cpus().length} cores shared by all members and the load generator, ${memory} GiB, ${process.platform}, ` +
    `Node ${process.version}; load average of other work at the start ${LOAD_BEFORE.toFixed(1)}`
  );
}

/** The commit, with a mark if files differ from it. */
export function commitOf(): string {
  const git = (...args: readonly string[]): string => {
    const cwd = path.join(import.meta.dirname, "..");
    return execFileSync("git", args, { cwd, encoding: "utf8" }).trim();
  };
  try {
    const changed = git("status", "--porcelain", "--untracked-files=no", "--", "../packages");
    return git("rev-parse", "--short", "HEAD") + (changed === "" ? "" : " with changes");
  } catch {
    return "unknown";
  }
}
