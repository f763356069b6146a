// Tells an observer of each input of a core, with its answer. The core's own code runs as it is: this file
// replaces the methods of one object by others that call them.
import type { RaftNode } from "../../core/node.ts";
import type { NodeId } from "../../core/position.ts";
import type { Input, Seen } from "../model/index.ts";

/** Calls `stepped` after each input of the core. A method that calls another one is one input. */
export function watchCore(core: RaftNode, stepped: (input: Input) => void): void {
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
    // `configurable`: several observers may watch the same core, each of which replaces the method again.
    Object.defineProperty(core, name, { value, configurable: true });
  }
}

/** What the reference model looks at after each input. */
export function seenOf(core: RaftNode): Seen {
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
 * Methods that only answer. Every other method is an input: a new one that isn't in `INPUTS` doesn't compile.
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

type AnyInputOf = (answer: unknown, ...args: unknown[]) => Input;
