// The interface between the library and the program's replicated state.
import type { LogPosition, NodeId } from "../../core/position.ts";
import type { StandardSchema } from "./standard-schema.ts";

/**
 * Converts commands to bytes and back. Each command is encoded once, on the node that is called; every node,
 * that one included, decodes it, and applies what it decoded. So a caller may change its command after the
 * call.
 *
 * **Who owns the bytes:** `encode` lends its bytes for the call, and may use their buffer again for the next
 * command: the library copies what it keeps. The bytes given to `decode` belong to the log. A command may
 * keep a view of them (which keeps up to 64 KiB of the log in memory: copy what is small and stays), but
 * neither codec nor state machine may change them: the log sends the same bytes to other nodes.
 */
export interface CommandCodec<Command> {
  /** The command as bytes. What it throws rejects the call, and nothing was proposed. */
  encode(command: Command): Uint8Array;
  /**
   * Decodes what `encode` produced, also in earlier versions of the program: the log may hold commands of
   * each. A throw stops the node, because skipping a command would make its state differ from that of the
   * others. So the leader decodes each command before it proposes it, and refuses one for which this throws,
   * with `CommandInvalidError`.
   */
  decode(bytes: Uint8Array): Command;
}

/**
 * Converts results to bytes and back. A result needs bytes where it outlives its call or leaves its node:
 * sessions store results to answer retries, and forwarding sends them to the caller's node. Without these
 * methods neither is available.
 *
 * With them, every caller gets a result that was encoded and decoded, whichever node it called: the same
 * value everywhere, and no part of the leader's state, which the caller could change. A throw, the same on
 * every node, is `ResultUnavailableError` for the caller, with the outcome `done`.
 *
 * **Who owns the bytes:** `encodeResult` lends its bytes for the call, as `encode` does. Those given to
 * `decodeResult` belong to the codec: the result may be a view of them, and its caller may change it.
 */
export interface ResultCodec<Result> {
  /**
   * Must produce the same bytes on every node for the same result: stored results are part of the replicated
   * state.
   */
  encodeResult?(result: Result): Uint8Array;
  /** Decodes what `encodeResult` produced, also in earlier versions of the program. */
  decodeResult?(bytes: Uint8Array): Result;
}

/** Converts a state machine's commands and results. */
export interface StateMachineCodec<Command, Result> extends CommandCodec<Command>, ResultCodec<Result> {}

/**
 * The records of the session table that a batch changed, by name; null: the record was deleted. A state
 * machine on disk stores each under its name, so that it writes only what changed.
 *
 * | name | value, numbers of 8 bytes, unsigned and little-endian |
 * |---|---|
 * | `time` | the time of the log |
 * | `session/ID` | time to live, when last used, the entry that used it last, lowest unanswered |
 * | `answer/ID/SEQUENCE` | the entry that took effect, then a byte for the type, then the result |
 *
 * The state machine may keep the values: the library does not use their bytes again.
 */
export type SessionChanges = ReadonlyMap<string, Uint8Array | null>;

/**
 * All records of the session table, as of one applied entry. The names and values are those of
 * `SessionChanges`.
 *
 * A table without open sessions still has the record `time`. No records at all mean that a state
 * was stored without its sessions, so the node can't tell which are open; it then refuses sessions.
 */
export type SessionRecords = ReadonlyMap<string, Uint8Array>;

/** The node that a state belongs to, as the node's log names it. */
export interface StateIdentity {
  readonly nodeId: NodeId;
  /** null: the node belongs to no cluster yet. `forceNewCluster` changes it. */
  readonly clusterId: string | null;
  /** Drawn at random when the node's log was created, and never changed (`StoredLog.storeId`). */
  readonly storeId: string;
}

/**
 * What a state machine holds when it is opened: the last entry whose effects it holds, and the session
 * records.
 */
export interface OpenedState extends LogPosition {
  /**
   * A state machine on disk that stores the records passed to `flush` and `restore` returns all of them here,
   * as of exactly this entry. It needs no rule of its own for an empty map: see `SessionRecords`. A state
   * machine in memory leaves this out: its sessions are rebuilt from the log like the rest of its state.
   */
  readonly sessions?: SessionRecords | undefined;
}

/**
 * What the node offers to its state machine, so that a database that hangs is noticed and one that is slow
 * isn't stopped.
 */
export interface StateMachineHost {
  /**
   * The state machine did a piece of its work: the calls of its methods that are under way count as begun
   * just now. To be called by an `open`, `flush` or `restore` that may take long, for each piece. In
   * `restore` each chunk counts by itself.
   */
  progress(): void;
  /**
   * Runs a call to the state's database, watches it until it settles, and settles with its outcome. For calls
   * that no method waits for, such as a query's: a node whose database answers no query should not lead.
   */
  watch<T>(what: string, call: () => Promise<T>): Promise<T>;
}

/**
 * What `apply` is told besides the command. All of it is the same on every node that applies this entry, at
 * whatever time, so the state may depend on it.
 */
export interface ApplyContext extends LogPosition {
  /**
   * Log time when this entry is applied, in whole milliseconds. The only clock that `apply` may use.
   *
   * - It is 0 in a new cluster, and no date: compare it with earlier readings only.
   * - It never falls from one entry to the next, whichever node leads. It continues after a restart, from the
   *   restored snapshot after an installation, and after `forceNewCluster` or a restore from a backup.
   * - It counts the time during which a leader leads, by the monotonic clock of that leader. It stands still
   *   during elections, outages, and while the leader's machine is suspended; so something that expires by it
   *   may live longer than its time, and with clocks that keep time never shorter.
   * - One entry moves it by 10 s at most, also if the leader's clock jumps.
   *
   * It moves with the precision of `StateMachine.logTimeStepMs`. Without that option it moves only with the
   * entries of sessions, and stays at 0 in a cluster that has none.
   */
  readonly logTimeMs: number;
}

/**
 * The replicated state, written by the program that uses the library.
 *
 * Every node applies the same commands in the same order. If `apply` used anything but the state, the
 * command and its `ApplyContext` (a clock, random numbers, an iteration order that differs between nodes),
 * the nodes' states would diverge without an error.
 *
 * Methods are never called at the same time, except that `apply` and `flush` go on while a snapshot is read.
 */
export interface StateMachine<Command, Result> {
  /**
   * Converts commands and results to bytes and back. Default: `jsonCodec()`, which refuses what JSON can't
   * hold. `bytesCodec()` is for commands and results that are bytes. A log is bound to its codec: another one
   * must decode what the first one encoded.
   */
  readonly codec?: StateMachineCodec<Command, Result> | undefined;

  /**
   * Validates commands on the node that is called, before they are encoded: a schema of Zod, Valibot,
   * ArkType, or any other that follows version 1 of https://standardschema.dev. What it refuses rejects the
   * call with `CommandInvalidError`, and nothing is proposed. What it returns is proposed, so it may add
   * defaults or convert. An asynchronous validation counts towards the call's time limit.
   *
   * It protects the log from mistakes of this program, not from other nodes: commands that they forward were
   * validated there. And `apply` sees commands of earlier versions of the program too. So `apply` must cope
   * with a command that this schema would refuse. Default: none.
   */
  readonly schema?: StandardSchema<Command> | undefined;

  /**
   * The state machine uses log time (`ApplyContext.logTimeMs`), and a command is told it with this precision:
   * a whole number of milliseconds from 10 to 5,000. Default: the state machine doesn't use log time.
   *
   * A leader with this option adds an entry of 36 bytes to the log, in the same write and the same message as
   * a command, if the last one that told the time is so long ago. Without commands it does so every 5 s or
   * so, since one entry moves log time by 10 s at most. Commands in sessions tell the time themselves.
   *
   * Only the leader uses it, so nodes may differ in it for as long as a deployment takes. A state machine on
   * disk must store the session records that hold log time: `flush` and `restore` are given them, and `open`
   * returns them as `sessions`. A node whose state lacks them doesn't open.
   */
  readonly logTimeStepMs?: number | undefined;

  /**
   * Called once, before all other methods. Returns the last entry whose effects the state holds; the node
   * applies the entries after it. Without this method that is `{ term: 0, index: 0 }`, as for a state in
   * memory, which is empty when it is opened: it is rebuilt from the log, or from a snapshot. A state on disk
   * must store this position in the same atomic step as the effects (see `flush`), or entries would be
   * applied twice or skipped after a crash.
   *
   * A state on disk should store `identity`, and throw if it finds another one. Otherwise a node whose state
   * directory was mixed up serves another cluster's data, if the positions of the two logs happen to match.
   * `storeId` tells logs apart; `clusterId` may change for the same log.
   *
   * The node watches this call, and those of all methods below but `close`: one that makes no progress for
   * `timings.stateStallMs` costs the node its leadership, and one for `timings.stateTimeoutMs` stops it. See
   * `StateMachineHost` for work that takes longer.
   */
  open?(identity: StateIdentity, host: StateMachineHost): Promise<OpenedState> | OpenedState;

  /**
   * Applies one committed command and returns its result for the caller. `at` says where the command is in
   * the log, and what time it is there.
   *
   * **A throw is a result too**: the caller gets it as `CommandRejectedError`, whose `cause` has its name,
   * message and code, and the node continues. So `apply` must throw for the same commands on every node. The
   * command counts as applied: its outcome is `done`, and what `apply` changed before the throw stays
   * changed.
   *
   * A failure of this node alone, such as of its disk, must be thrown as `StateMachineFailure`, which stops
   * the node.
   */
  apply(command: Command, at: ApplyContext): Result | Promise<Result>;

  /**
   * Called after each batch of `apply` calls, and after entries that hold no command, with the last entry of
   * the batch. A state on disk writes the effects of the batch, this position, and the changed session
   * records in one atomic step. Until it resolves, no result of the batch is returned to a caller and no read
   * is served. It must be atomic but need not be durable: what a power failure takes back is applied again
   * from the log, or restored from a snapshot. A rejection stops the node.
   */
  flush?(applied: LogPosition, sessions: SessionChanges): Promise<void> | void;

  /**
   * Returns the whole state as bytes, in chunks of any size, exactly as it is **after the last entry that was
   * applied and flushed when this is called**, whatever is applied while the chunks are read. The library
   * calls it between two batches and asks for the first chunk at once. So an async generator can copy the
   * state, or open an iterator of its database, before its first `await` or `yield`.
   *
   * A chunk must stay as it is until the next one is asked for; then its buffer may be used again.
   *
   * The iteration may be ended early (`return`). A throw makes this snapshot fail and nothing else, unless it
   * is a `StateMachineFailure`. Without `snapshot` and `restore` the node can't be opened with the option
   * `snapshots`.
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
   * Replaces the whole state by one that `snapshot` returned, on this node or another; the chunks may be cut
   * differently. Afterwards the state is that after the entry `at`. Nothing is applied or read meanwhile.
   *
   * A state on disk stores `at` and all session records with it, and everything is durable when the promise
   * resolves. A crash or rejection in between must leave the old state, or the new one, or an empty one for
   * which `open` returns `{ term: 0, index: 0 }`: then it is restored again. A rejection stops the node.
   */
  restore?(state: AsyncIterable<Uint8Array>, at: LogPosition, sessions: SessionRecords): Promise<void>;

  /** Called once, after all other methods, unless `open` failed. */
  close?(): Promise<void> | void;
}

/**
 * A failure of this node alone: its disk failed, or its state is damaged. It stops the node. Thrown by
 * `apply` (it says nothing about the command), by `snapshot` and the iteration of its chunks, or by the query
 * of a read.
 */
export class StateMachineFailure extends Error {
  override readonly name: string = "StateMachineFailure";
}

/** A state machine with its codec and `open`, its own or the default. */
export interface CodedStateMachine<Command, Result> extends StateMachine<Command, Result> {
  readonly codec: StateMachineCodec<Command, Result>;
  open(identity: StateIdentity, host: StateMachineHost): Promise<OpenedState> | OpenedState;
}
