import { frames, membership, records } from "./codec-targets.ts";
import { httpTarget } from "./http-target.ts";
import { commands, httpSyntax, lines } from "./kv-targets.ts";
import type { Target } from "./target.ts";
import { walTarget } from "./wal-target.ts";

/** By the name that `--target` takes. Made anew, since some hold servers and disks. */
export const TARGETS: Readonly<Record<string, () => Target>> = {
  frames: () => frames,
  records: () => records,
  config: () => membership,
  commands: () => commands,
  line: () => lines,
  "http-syntax": () => httpSyntax,
  wal: walTarget,
  http: httpTarget,
};
