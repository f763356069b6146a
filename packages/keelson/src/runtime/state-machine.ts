import type { LogPosition } from "../core/position.ts";

/** Between a command and its bytes. Encoding is done once, where the command is proposed. */
export interface CommandCodec<Command> {
  encode(command: Command): Uint8Array;
  /** Must accept all that `encode` ever produced, in any version of the program. */
  decode(bytes: Uint8Array): Command;
}

/**
 * What is replicated: yours. Every node applies the same commands in the same order, so `apply`
 * must depend on nothing but the state and the command: no clock, no chance, no order of keys that
 * may differ between nodes.
 */
export interface StateMachine<Command, Result> {
  readonly codec: CommandCodec<Command>;

  /**
   * Called once, before anything else. Resolves with the last entry whose effects the state holds
   * already: `{ term: 0, index: 0 }` for a state kept in memory, which is then built again from the
   * log. A state on disk must store that position in one atomic step with the effects (`flush`).
   */
  open(): Promise<LogPosition> | LogPosition;

  /**
   * Applies one committed command and returns its result for the caller. **A throw is a result
   * too**: the caller gets it as `CommandRejectedError`, and the node goes on, so it must be thrown
   * alike on every node. A failure that is this node's own (its disk) must be thrown as
   * `StateMachineFailure`, which stops the node.
   */
  apply(command: Command, at: LogPosition): Result | Promise<Result>;

  /**
   * Called after each batch of `apply` calls, and after entries that carry no command, with the
   * last position they cover. A state on disk writes the effects of the batch and this position in
   * one atomic step here. No result is handed to a caller, and no read is served, before it
   * resolves. A rejection stops the node.
   */
  flush?(applied: LogPosition): Promise<void> | void;

  /** Called last. */
  close?(): Promise<void> | void;
}

/** Thrown by `apply` for a failure that is this node's own and says nothing about the command. */
export class StateMachineFailure extends Error {
  override readonly name = "StateMachineFailure";
}
