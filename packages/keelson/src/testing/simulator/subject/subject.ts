/**
 * The interface of what is simulated: a state machine, what clients call, and the model that answers are
 * checked with.
 */
import type { Environment } from "../../../environment/environment.ts";
import type { NodeId } from "../../../core/position.ts";
import type { StateMachine } from "../../../runtime/shared/index.ts";
import type { Model, ModelState } from "../../linearizability/index.ts";
import type { Chance } from "../plan/chance.ts";
import type { Plan } from "../plan/plan.ts";

/** The process that a state machine is made for. */
export interface MachineHost {
  readonly id: NodeId;
  /**
   * The process's clock, timers, randomness and disk. The log is on the same disk, in `/ID`. Files of the
   * state machine have the disk's faults, and survive a power cut only as far as they were synced.
   */
  readonly environment: Environment;
}

/** What a client may use to make up its next call. */
export interface CallContext<Machine> {
  /** The only source of randomness that a subject may use, so that two runs of one plan are equal. */
  readonly chance: Chance;
  /** Unique among the calls of the run. */
  readonly number: number;
  /** One of the few keys that all clients share, for state machines that have keys. */
  readonly key: string;
  /** Each node's state machine, null if it is down: to find values that a client might have read before. */
  readonly machines: readonly (Machine | null)[];
}

/** One write, and what it means in the model. */
export interface WriteCall<Command, Result, Input, Output> {
  readonly command: Command;
  /** null: the write isn't in the history, since it changes nothing and its result says nothing. */
  readonly input: Input | null;
  /** The result, as the model's output. */
  output(result: Result): Output;
  /**
   * The output when `apply` threw this, or when the codec couldn't encode its result. Left out: either is a
   * violation, with the code REJECT.
   */
  rejected?(error: unknown): Output;
}

/** One linearizable or lease read, and what it means in the model. */
export interface ReadCall<Machine, Input, Output> {
  readonly input: Input;
  /** The query, as `Raft.read` takes it. */
  query(machine: Machine): Output | Promise<Output>;
}

/**
 * What is simulated: a state machine, the calls that clients make, and the sequential model that their
 * history is checked with. Made anew for each run.
 */
export interface Subject<Machine extends StateMachine<Command, Result>, Command, Result, Input, Output> {
  readonly model: Model<ModelState, Input, Output>;
  /** Makes the state machine of a process that starts, for the first time or again. */
  machine(host: MachineHost): Machine;
  /** Makes up a client's next write. */
  write(context: CallContext<Machine>): WriteCall<Command, Result, Input, Output>;
  /** Makes up a client's next read. */
  read(context: CallContext<Machine>): ReadCall<Machine, Input, Output>;
  /** The command as text. Two different commands have different texts. */
  describe(command: Command): string;
  /**
   * A name that no other command has. With it, the run also checks that an acknowledged command was applied
   * (DUR), at one index (ONCE), and that one reported as not done never was (KNOWN). null, or left out: the
   * command has none.
   */
  nameOf?(command: Command): string | null;
  /**
   * The node's disk was lost, or replaced by an older copy of itself: drop what the subject keeps for this
   * node outside of the disk. Left out: it keeps nothing.
   */
  forget?(id: NodeId): void;
  /** The whole state in one line. It must be equal on all nodes that have applied the same entries. */
  digest(machine: Machine): string | Promise<string>;
  /**
   * Whether nodes that have applied the same entries return the same bytes from `snapshot`, which is compared
   * then. Default: true. Say false if the bytes depend on more than the state, such as on the order in which
   * a database stores it.
   */
  readonly comparesSnapshots?: boolean | undefined;
}

/** A subject as the simulator uses it, without knowing its commands, results, inputs and outputs. */
export type AnySubject = Subject<StateMachine<unknown, unknown>, unknown, unknown, unknown, unknown>;

/** Makes the subject of one run. */
export type MakeSubject = (plan: Plan) => AnySubject;
