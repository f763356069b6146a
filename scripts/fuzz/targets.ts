import { frames, membership, records } from "./codec-targets.ts";
import { httpTarget } from "./http-target.ts";
import { commands, httpSyntax, lines } from "./kv-targets.ts";
import { answers, calls } from "./protocol-targets.ts";
import { sessionEntries, sessionTable } from "./session-targets.ts";
import { snapshotTarget } from "./snapshot-target.ts";
import type { Target } from "./target.ts";
import { walTarget } from "./wal-target.ts";

/** The targets, by the name for `--target`. New ones each time, because some hold servers and disks. */
export const TARGETS: Readonly<Record<string, () => Target>> = {
  frames: () => frames,
  records: () => records,
  config: () => membership,
  "session-entries": () => sessionEntries,
  "session-table": () => sessionTable,
  snapshots: () => snapshotTarget,
  commands: () => commands,
  line: () => lines,
  "http-syntax": () => httpSyntax,
  calls: () => calls,
  answers: () => answers,
  wal: walTarget,
  http: httpTarget,
};
