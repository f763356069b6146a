/** Another process opens the log of a node while the node's own process runs. */
import type { NodeId } from "../../../core/position.ts";
import type { Environment } from "../../../environment/environment.ts";
import { DirectoryLockedError } from "../../../errors.ts";
import type { LogStore } from "../../../storage/log-store.ts";
import { Violation } from "../checkers/violation.ts";
import { isDiskError } from "./stop-reasons.ts";

export interface SecondProcessParts {
  readonly id: NodeId;
  /** The node's log, as the other process opens it. */
  readonly log: LogStore;
  readonly environment: Environment;
  /** The node's own process runs as it did when this began. */
  readonly isRunning: () => boolean;
  readonly trace: (text: string) => void;
  readonly report: (error: unknown) => void;
}

/** DUR: while the node's own process runs, the other one is refused, before it changes anything. */
export function openLogTwice({ id, log, environment, isRunning, trace, report }: SecondProcessParts): void {
  trace(`another process opens the directory of ${id}`);
  log.open({ nodeId: id, clusterId: null }, environment).then(
    async () => {
      // The node's own process may have ended meanwhile, and the lock was free.
      if (isRunning()) report(new Violation("DUR", `two processes have the log of ${id} open`));
      await log.close();
    },
    (error: unknown) => {
      // A fault of the disk may strike the other process as well.
      if (!(error instanceof DirectoryLockedError) && !isDiskError(error)) report(error);
    },
  );
}
