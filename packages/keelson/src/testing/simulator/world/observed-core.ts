/**
 * A node's core, with the reference model and the checker of duties beside it: after each input the model is
 * asked whether Raft allows what the core did, and the checker whether the core left out what it owed. The
 * core's own code runs as it is: this file replaces the methods of one object by others that call them.
 */
import type { RaftNode } from "../../../core/node.ts";
import type { NodeId } from "../../../core/position.ts";
import type { Input, ModelSettings, Seen } from "../../model/index.ts";
import type { DutySettings } from "../checkers/duty.ts";
import type { ModelChecker } from "../checkers/model-checker.ts";
import { NodeDuties } from "../checkers/node-duties.ts";

export interface ObservedCoreParts {
  readonly checker: ModelChecker;
  readonly settings: ModelSettings & DutySettings;
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
  const duties = new NodeDuties(core, settings, now);
  check(() => {
    checker.started(id, settings, seenOf(core), now, keepsDisk);
  });
  wrapMethods(core, (input) => {
    check(() => {
      checker.stepped(id, input, seenOf(core));
      duties.stepped(input);
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
    config: core.config,
    log: core.log,
    matchOf: (id: NodeId) => core.progress(id)?.match ?? null,
  };
}

/** The methods that give the core an input, and that input with its answer. */
const INPUTS: InputsOf<InputMethod> = {
  handleMessage: (_, message, now) => ({ type: "message", message, now }),
  handleTimeout: (_, now) => ({ type: "timeout", now }),
  handlePersisted: (_, persistId, now) => ({ type: "persisted", persistId, now }),
  handleSnapshotInstalled: (_, position, config, now) => ({ type: "installed", position, config, now }),
  handleCompacted: (_, index, now) => ({ type: "compacted", index, now }),
  proposeCommand: (answer, now) => ({ type: "propose", count: 1, answer, now }),
  proposeCommands: (answer, count, now) => ({ type: "propose", count, answer, now }),
  proposeConfig: (answer, target, now) => ({ type: "change", target, answer, now }),
  handleServiceStall: (_, isStalled, now) => ({ type: "stall", isStalled, now }),
  transferLeadership: (answer, to, now) => ({ type: "transfer", to, answer, now }),
  createCluster: (_, voters, now) => ({ type: "create", voters: [...voters], now }),
  readIndex: (id, now) => ({ type: "read", id, now }),
  leaseIndex: (answer, now) => ({ type: "lease-read", answer, now }),
  takeActions: (actions) => ({ type: "take", actions }),
};

/**
 * Methods that only answer. Every other method is an input: a new one that isn't in `INPUTS` doesn't
 * compile.
 */
type Question = "capture" | "commitStatus" | "progress";

type InputMethod = Exclude<
  {
    [Name in keyof RaftNode]: RaftNode[Name] extends (...args: never[]) => unknown ? Name : never;
  }[keyof RaftNode],
  Question
>;

type InputsOf<Method extends InputMethod> = {
  readonly [Name in Method]: (
    answer: ReturnType<RaftNode[Name]>,
    ...args: Parameters<RaftNode[Name]>
  ) => Input;
};

/** Calls `stepped` after each input. A method that calls another one is one input. */
function wrapMethods(core: RaftNode, stepped: (input: Input) => void): void {
  let depth = 0;
  for (const [name, inputOf] of Object.entries(INPUTS) as [InputMethod, AnyInputOf][]) {
    const run = (core[name] as (...args: unknown[]) => unknown).bind(core);
    const value = (...args: unknown[]): unknown => {
      let answer: unknown;
      depth += 1;
      try {
        answer = run(...args);
      } finally {
        depth -= 1;
      }
      if (depth === 0) stepped(inputOf(answer, ...args));
      return answer;
    };
    Object.defineProperty(core, name, { value });
  }
}

type AnyInputOf = (answer: unknown, ...args: unknown[]) => Input;
