/**
 * A node's core, with the reference model beside it: after each input the model is asked whether Raft allows
 * what the core did. The core's own code runs as it is: this file replaces the methods of one object by others
 * that call them.
 */
import type { RaftNode } from "../../../core/node.ts";
import type { NodeId } from "../../../core/position.ts";
import type { Input, ModelSettings, Seen } from "../../model/index.ts";
import type { ModelChecker } from "../checkers/model-checker.ts";

export interface ObservedCoreParts {
  readonly checker: ModelChecker;
  readonly settings: ModelSettings;
  /** The time on the process's clock. */
  readonly now: number;
  /** Nothing has damaged the disk, so what was durable when the process ended must be there. */
  readonly keepsDisk: boolean;
  readonly isDead: () => boolean;
  /** Gets what the model doesn't allow: it is for the run to report, not for the node to handle. */
  readonly report: (error: unknown) => void;
}

/** See the file's header. Called before the core's first input. */
export function observeCore(core: RaftNode, parts: ObservedCoreParts): void {
  const { checker, settings, now, keepsDisk, isDead, report } = parts;
  const { id } = core;
  const check = (ask: () => void): void => {
    try {
      if (!isDead()) ask();
    } catch (error) {
      report(error);
    }
  };
  check(() => {
    checker.started(id, settings, seenOf(core), now, keepsDisk);
  });
  wrapMethods(core, (input) => {
    check(() => {
      checker.stepped(id, input, seenOf(core));
    });
  });
}

function seenOf(core: RaftNode): Seen {
  return {
    term: core.term,
    votedFor: core.votedFor,
    role: core.role,
    leader: core.leader,
    commit: core.commitIndex,
    durable: core.durableIndex,
    transferTarget: core.transferTarget,
    log: core.log,
    matchOf: (id: NodeId) => core.progress(id)?.match ?? null,
  };
}

/** Calls `stepped` after each input, with its answer. */
function wrapMethods(core: RaftNode, stepped: (input: Input) => void): void {
  // A method that calls another one is one input.
  let depth = 0;
  const watch = <Arguments extends unknown[], Answer>(
    method: (...args: Arguments) => Answer,
    inputOf: (answer: Answer, ...args: Arguments) => Input,
  ): ((...args: Arguments) => Answer) => {
    const run = method.bind(core);
    return (...args) => {
      depth += 1;
      let answer: Answer;
      try {
        answer = run(...args);
      } finally {
        depth -= 1;
      }
      if (depth === 0) stepped(inputOf(answer, ...args));
      return answer;
    };
  };
  core.handleMessage = watch(core.handleMessage, (_, message, now) => ({ type: "message", message, now }));
  core.handleTimeout = watch(core.handleTimeout, (_, now) => ({ type: "timeout", now }));
  core.handlePersisted = watch(core.handlePersisted, (_, persistId, now) => ({
    ...{ type: "persisted", persistId, now },
  }));
  core.handleSnapshotInstalled = watch(core.handleSnapshotInstalled, (_, position, config, now) => ({
    ...{ type: "installed", position, config, now },
  }));
  core.handleCompacted = watch(core.handleCompacted, (_, index, now) => ({ type: "compacted", index, now }));
  core.proposeCommand = watch(core.proposeCommand, (answer, now) => ({
    ...{ type: "propose", count: 1, answer, now },
  }));
  core.proposeCommands = watch(core.proposeCommands, (answer, count, now) => ({
    ...{ type: "propose", count, answer, now },
  }));
  core.proposeConfig = watch(core.proposeConfig, (answer, target, now) => ({
    ...{ type: "change", target, answer, now },
  }));
  core.transferLeadership = watch(core.transferLeadership, (_answer, _to, now) => ({ type: "transfer", now }));
  core.createCluster = watch(core.createCluster, (_, voters, now) => ({
    ...{ type: "create", voters: [...voters], now },
  }));
  core.readIndex = watch(core.readIndex, (id, now) => ({ type: "read", id, now }));
  core.leaseIndex = watch(core.leaseIndex, (answer, now) => ({ type: "lease-read", answer, now }));
  core.takeActions = watch(core.takeActions, (actions) => ({ type: "take", actions }));
}
