import type { Environment } from "../../../environment/environment.ts";
import type { NodeId } from "../../../core/position.ts";
import type { StateMachine } from "../../../runtime/shared/index.ts";
import type { Model, ModelState } from "../../linearizability/index.ts";
import type { Chance } from "../plan/chance.ts";
import type { Plan } from "../plan/plan.ts";

/** A process that starts, as its state machine gets to know it. */
export interface MachineHost {
  readonly id: NodeId;
  /**
   * The process's clock, timers, chance and disk; the log lives on the same disk, in `/ID`. Whatever a state machine
   * keeps in files there is subject to the disk's faults, and survives a crash only as far as it was synced.
   */
  readonly environment: Environment;
}

/** What a client knows when it makes up its next call. */
export interface CallContext<Machine> {
  readonly chance: Chance;
  /** Counts the calls: no other has this number. */
  readonly number: number;
  /** One of the few keys at which clients meet, for state machines that have keys. */
  readonly key: string;
  /** The state machine of each node, null if it is down: to look at what a client might have seen. */
  readonly machines: readonly (Machine | null)[];
}

/** One write, and what it means to the model. */
export interface WriteCall<Command, Result, Input, Output> {
  readonly command: Command;
  /** null: not in the history, since it changes nothing and tells nothing. */
  readonly input: Input | null;
  /** What the result says in the model's words. */
  output(result: Result): Output;
  /** The same when `apply` threw. Without it a rejected command breaks the run. */
  rejected?(error: unknown): Output;
}

/** One linearizable read, and what it means to the model. */
export interface ReadCall<Machine, Input, Output> {
  readonly input: Input;
  /** The query, as `Raft.read` takes it. */
  query(machine: Machine): Output | Promise<Output>;
}

/**
 * What is simulated: a state machine, what clients ask of it, and the sequential model that their
 * history is held against. Made anew for each run. Whatever it decides by chance, it must decide by
 * the chance that it is given: two runs of one seed are equal.
 */
export interface Subject<Machine extends StateMachine<Command, Result>, Command, Result, Input, Output> {
  readonly model: Model<ModelState, Input, Output>;
  /** A state machine for a process that starts: at first, and after each crash. */
  machine(host: MachineHost): Machine;
  /** A client's next write. */
  write(context: CallContext<Machine>): WriteCall<Command, Result, Input, Output>;
  /** A client's next read. */
  read(context: CallContext<Machine>): ReadCall<Machine, Input, Output>;
  /** The command in words; no two different ones have the same. */
  describe(command: Command): string;
  /**
   * The command's own name, if no other has it: then the run also checks that what was acknowledged was
   * applied, and that what was surely not done was not. null, or left out: it has none.
   */
  nameOf?(command: Command): string | null;
  /** The node's disk is lost: so is what the subject itself keeps for it. Left out: it keeps nothing. */
  forget?(id: NodeId): void;
  /** The whole state in one line: equal at all nodes once they have applied the same. */
  digest(machine: Machine): string | Promise<string>;
}

/**
 * A subject as the simulator handles it: only the subject itself looks into its commands, results,
 * inputs and outputs.
 */
export type AnySubject = Subject<StateMachine<unknown, unknown>, unknown, unknown, unknown, unknown>;

/** Makes the subject of one run. */
export type MakeSubject = (plan: Plan) => AnySubject;
