import type { LogPosition } from "../../core/position.ts";

/** Between a command and its bytes. Encoding is done once, where the command is proposed. */
export interface CommandCodec<Command> {
  encode(command: Command): Uint8Array;
  /** Must accept all that `encode` ever produced, in any version of the program. */
  decode(bytes: Uint8Array): Command;
}

/**
 * Between a result and its bytes. Results need bytes where they outlive the call that asked for
 * them, as the answers do that sessions keep. Without the two methods there are no sessions.
 */
export interface ResultCodec<Result> {
  /** The same bytes on every node for the same result. */
  encodeResult?(result: Result): Uint8Array;
  /** Must accept all that `encodeResult` ever produced, in any version of the program. */
  decodeResult?(bytes: Uint8Array): Result;
}

/** The codec of a state machine. */
export interface StateMachineCodec<Command, Result> extends CommandCodec<Command>, ResultCodec<Result> {}

/**
 * The table of sessions as small records, each under a name of its own, so that a state machine on disk can store only
 * the records that a batch changed. null: the record was deleted.
 *
 * | name | value, numbers of 8 bytes, unsigned and little-endian |
 * |---|---|
 * | `time` | the time of the log |
 * | `session/ID` | time to live, when last used, the entry that used it last, lowest unanswered |
 * | `answer/ID/SEQUENCE` | the entry that took effect, then a byte for the type, then the result |
 */
export type SessionChanges = ReadonlyMap<string, Uint8Array | null>;

/** All records of the table of sessions, as of one applied entry. */
export type SessionRecords = ReadonlyMap<string, Uint8Array>;

/** What a state machine holds when it is opened. */
export interface OpenedState extends LogPosition {
  /**
   * The records that `flush` was given, whole and as of this very position: a state on disk returns
   * them, also when there are none. Left out by a state in memory, whose sessions are built again
   * from the log like the state itself.
   */
  readonly sessions?: SessionRecords;
}

/**
 * What is replicated: yours. Every node applies the same commands in the same order, so `apply`
 * must depend on nothing but the state and the command: no clock, no chance, no order of keys that
 * may differ between nodes.
 */
export interface StateMachine<Command, Result> {
  readonly codec: StateMachineCodec<Command, Result>;

  /**
   * Called once, before anything else. Resolves with the last entry whose effects the state holds
   * already: `{ term: 0, index: 0 }` for a state kept in memory, which is then built again from the
   * log. A state on disk must store that position in one atomic step with the effects (`flush`), and
   * likewise the records of the sessions, if it wants any.
   */
  open(): Promise<OpenedState> | OpenedState;

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
   * one atomic step here, and with them `sessions`: the records of the sessions that changed, null
   * for those that are gone. No result is handed to a caller, and no read is served, before it
   * resolves. A rejection stops the node.
   */
  flush?(applied: LogPosition, sessions: SessionChanges): Promise<void> | void;

  /**
   * The whole state as bytes, cut anywhere, as it is **after the last entry that was applied and flushed when this is
   * called**, whatever is applied while they are read. It is called between two batches, and the first bytes are asked
   * for at once, so an async generator may take hold of the state (copy a map, open an iterator of the database) before
   * its first `await` or `yield`. Without it, and `restore`, the node takes and installs no snapshots. The iteration
   * may be given up early (`return`). A throw spoils this snapshot and nothing else.
   *
   * @example
   * ```ts
   * class Names {
   *   readonly names = new Set<string>();
   *   async *snapshot() {
   *     const copy = [...this.names]; // before the first await: writes go on
   *     for (const name of copy) yield await Promise.resolve(new TextEncoder().encode(`${name}\n`));
   *   }
   * }
   * ```
   */
  snapshot?(): AsyncIterable<Uint8Array>;

  /**
   * Replaces the whole state by the one that `snapshot` gave these bytes of, here or on another node, cut elsewhere;
   * from now on the state is that after the entry `at`. Nothing is applied or read meanwhile. A state on disk stores
   * `at` and the records of the sessions with it, and all of it is durable when the promise resolves. A crash, or a
   * rejection, must leave the old state, or the new one, or one that `open` reports as `{ term: 0, index: 0 }`, empty:
   * then it is restored again. A rejection stops the node.
   */
  restore?(state: AsyncIterable<Uint8Array>, at: LogPosition, sessions: SessionRecords): Promise<void>;

  /** Called last. */
  close?(): Promise<void> | void;
}

/** Thrown by `apply` for a failure that is this node's own and says nothing about the command. */
export class StateMachineFailure extends Error {
  override readonly name = "StateMachineFailure";
}
