/**
 * Somebody asks to discard the log of a node that died, because one of the first members had a wrong address.
 */
import type { Environment } from "../../../environment/environment.ts";
import { DirectoryLockedError } from "../../../errors.ts";
import { discardUnusedLog } from "../../../storage/wal/index.ts";
import type { NodeHistory } from "../checkers/cluster-history.ts";
import { Violation } from "../checkers/violation.ts";
import { isCorruption, isDiskError } from "./stop-reasons.ts";

export interface DiscardParts {
  /** What was seen of the node, whose process is dead. */
  readonly node: NodeHistory;
  /** The members that the cluster began with, address by id. */
  readonly firstMembers: Readonly<Record<string, string>>;
  /** The environment in which the node's directories lie. */
  readonly environment: Environment;
  readonly trace: (text: string) => void;
  readonly report: (error: unknown) => void;
}

/** DUR: a log by which the node voted, or that holds entries of a leader, stays. */
export function tryToDiscardLog({ node, firstMembers, environment, trace, report }: DiscardParts): void {
  const { id, durable, hardState } = node;
  // A log that holds the first entry alone, as `initialize` writes it, may go if the node hasn't voted.
  if (durable.length <= 1 && hardState.votedFor === null) return;
  const [first = ""] = Object.keys(firstMembers);
  const members = { ...firstMembers, [first]: `${first}:7999` };
  trace(`the log of ${id} is to be discarded`);
  discardUnusedLog(`/${id}`, { members, environment }).then(
    ({ isDiscarded }) => {
      if (isDiscarded) report(new Violation("DUR", `the log of ${id} was discarded after it had been used`));
    },
    (error: unknown) => {
      const isRefused = error instanceof DirectoryLockedError || isDiskError(error) || isCorruption(error);
      if (!isRefused) report(error);
    },
  );
}
