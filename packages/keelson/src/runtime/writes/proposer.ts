// Proposes what callers want in the log: commands, and the entries that open and close sessions.
import { copyBytes } from "../../codec/copy-bytes.ts";
import { EntryKind, RECORD_HEADER_BYTES } from "../../codec/record.ts";
import {
  encodeCloseSession,
  encodeOpenSession,
  encodeSessionCommand,
  encodeSessionTime,
  isCommandId,
  type SessionCommandId,
} from "../../codec/session-entry.ts";
import { assert, ProtocolViolation } from "../../core/assert.ts";
import type { RaftNode } from "../../core/node.ts";
import type { LogIndex, LogPosition } from "../../core/position.ts";
import {
  AbortedError,
  InvalidOptionError,
  NotLeaderError,
  ResultUnavailableError,
  TransferringError,
  type LeaderHint,
  type RaftError,
} from "../../errors.ts";
import {
  type AppliedEntry,
  type EncodedWriteResult,
  type WriteResult,
  causeOf,
  describeCancellation,
  type Call,
  type CallEndings,
  type CallOptions,
  type CallRegistry,
  type ForwardableCall,
  type LeaderCalls,
  type RemovalStatus,
} from "../calls/index.ts";
import type { Driver } from "../loop/index.ts";
import { reasonOf, type ResultEncoder } from "../shared/index.ts";
import type { CommandEncoder } from "./command-encoder.ts";
import type { PendingProposal, PendingProposals } from "./pending-proposals.ts";
import type { LogClock, OpenedSession, OpenSessionOptions, SessionApplier } from "../sessions/index.ts";

/** How one command is written. */
export interface WriteOptions extends CallOptions {
  /** The command's session and number, for callers that number their commands. Others use `openSession`. */
  readonly session?: SessionCommandId | undefined;
}

/** A session's default time to live: far longer than clients retry. */
const TTL_MS_DEFAULT = 60_000;

/** A shorter time to live could run out during an election; a longer one keeps dead clients' sessions. */
const TTL_MS_MIN = 1_000;
const TTL_MS_MAX = 7 * 24 * 3_600_000;

export interface ProposerParts<Command, Result> {
  readonly core: RaftNode;
  readonly driver: Driver;
  readonly encoder: CommandEncoder<Command>;
  readonly results: ResultEncoder<Result>;
  readonly pending: PendingProposals<Result>;
  readonly sessions: SessionApplier<Result>;
  readonly logClock: LogClock;
  readonly leader: () => LeaderHint | null;
  readonly calls: CallRegistry;
  /** Why no leader serves this node's calls any more; null: one may. */
  readonly removal: RemovalStatus;
  /** Makes the calls of a node that doesn't lead. */
  readonly leaderCalls: LeaderCalls;
  /** Why calls aren't forwarded to another node that leads; null: they are. */
  readonly forwardRefusal: string | null;
  /** Why the node takes no calls any more; null: it does. */
  readonly refusal: () => RaftError | null;
}

/**
 * Proposes entries on the leader, and connects each with the call that waits for it. On any other node the
 * call is left to `CallForwarder`.
 *
 * A refusal is thrown before anything is proposed, so its outcome is "not done". Once proposed, an entry
 * can't be taken back: it may be committed by this leader or the next. From then on a call that ends early
 * (by its time limit, its signal, or the node's stop) ends as "unknown" (K4).
 */
export class Proposer<Command, Result> {
  readonly #parts: ProposerParts<Command, Result>;
  /**
   * Ends a write's call with the result, or the error, of its applied entry. One function for all writes:
   * `CallParts` says why.
   */
  readonly #settleWrite: Settle<WriteResult<Result>, Result>;
  /** The same for the writes of other nodes, which get the result as bytes. */
  readonly #settleForwarded: Settle<EncodedWriteResult, Result>;
  #count = 0;

  constructor(parts: ProposerParts<Command, Result>) {
    this.#parts = parts;
    this.#settleWrite = settleWith((call, { index, result }) => {
      settleResult(call, index, result);
    });
    this.#settleForwarded = settleWith((call, { index, bytes }) => {
      assert(bytes !== null, "calls of other nodes that want a result are refused without encodeResult");
      call.resolve({ index, bytes });
    });
  }

  /** How many entries this process has proposed for callers. */
  get count(): number {
    return this.#count;
  }

  write(command: Command, options: WriteOptions): Promise<WriteResult<Result>> {
    // Before the command is validated and encoded, which may take long.
    this.#checkWrite(options);
    return this.#parts.encoder.encode(command, options, (bytes, rest) => this.writeEncoded(bytes, rest));
  }

  /** Validates and encodes a command that `writeEncoded` is to write, once or several times. */
  encode<T, Options extends CallOptions>(
    command: Command,
    options: Options,
    use: (bytes: Uint8Array, rest: Options) => Promise<T>,
  ): Promise<T> {
    this.#parts.calls.check(options);
    return this.#parts.encoder.encode(command, options, use);
  }

  /** Writes what `encode` returned. */
  writeEncoded(bytes: Uint8Array, options: WriteOptions): Promise<WriteResult<Result>> {
    const runsHere = this.#checkWrite(options);
    const { session } = options;
    if (runsHere) return this.#proposeCommand(bytes, session, options, this.#settleWrite);
    // The bytes outlive this call: they wait for a leader, may be sent again, and the transport keeps them
    // until they have left. The codec may encode the next command into the same buffer.
    const payload = copyBytes(bytes, "what encode returns");
    const forwardable: ForwardableCall<WriteResult<Result>> = {
      request: session === undefined ? { type: "write" } : { type: "session-write", session: { ...session } },
      payload,
      isRepeatable: session !== undefined,
      refusal: this.#resultRefusal,
      decodeReply: (index, reply) => ({ index, result: this.#decodeResult(reply) }),
      runHere: (rest) => {
        this.#checkLeader();
        return this.#proposeCommand(payload, session, rest, this.#settleWrite);
      },
    };
    return this.#parts.leaderCalls.forward(forwardable, options);
  }

  /**
   * Writes a command that another node encoded, without forwarding it, and resolves with the encoded result
   * for that node. The command's bytes are checked here again: the other node may run another version of the
   * program, with other limits and another codec.
   */
  writeForwarded(
    bytes: Uint8Array,
    session: SessionCommandId | undefined,
    options: CallOptions,
  ): Promise<EncodedWriteResult> {
    this.#parts.calls.check(options);
    if (session !== undefined) this.#checkSession(session);
    this.#checkLeader();
    this.#parts.encoder.check(bytes);
    return this.#proposeCommand(bytes, session, options, this.#settleForwarded);
  }

  openSession({ ttlMs = TTL_MS_DEFAULT, ...options }: OpenSessionOptions): Promise<OpenedSession> {
    this.#parts.calls.check(options);
    this.#checkSessions();
    if (!Number.isSafeInteger(ttlMs) || ttlMs < TTL_MS_MIN || ttlMs > TTL_MS_MAX) {
      throw new InvalidOptionError(
        `ttlMs is ${String(ttlMs)}; it should be a whole number from ${String(TTL_MS_MIN)} to ${String(TTL_MS_MAX)}`,
      );
    }
    if (!this.#runsHere()) {
      const forwardable: ForwardableCall<OpenedSession> = {
        request: { type: "open-session", ttlMs },
        payload: NO_COMMAND,
        // A session that was opened, and isn't known to its caller, ends by its time to live.
        isRepeatable: true,
        refusal: this.#parts.forwardRefusal,
        decodeReply: (index) => ({ id: index, ttlMs }),
        runHere: (rest) => this.#openHere(ttlMs, rest),
      };
      return this.#parts.leaderCalls.forward(forwardable, options);
    }
    return this.#openHere(ttlMs, options);
  }

  #openHere(ttlMs: number, options: CallOptions): Promise<OpenedSession> {
    this.#checkLeader();
    const payload = encodeOpenSession({ clock: this.#parts.logClock.read(), ttlMs });
    return this.#propose<OpenedSession>(EntryKind.openSession, payload, options, ({ position }, call) => {
      call.resolve({ id: position.index, ttlMs });
    });
  }

  closeSession(id: LogIndex, options: CallOptions): Promise<void> {
    this.#parts.calls.check(options);
    this.#checkSessions();
    if (!Number.isSafeInteger(id) || id < 1) {
      throw new InvalidOptionError(`the session is ${String(id)}; it should be a whole number from 1 on`);
    }
    if (!this.#runsHere()) {
      const forwardable: ForwardableCall<undefined> = {
        request: { type: "close-session", id },
        payload: NO_COMMAND,
        isRepeatable: true,
        refusal: this.#parts.forwardRefusal,
        decodeReply: () => undefined,
        runHere: (rest) => this.#closeHere(id, rest),
      };
      return this.#parts.leaderCalls.forward(forwardable, options);
    }
    return this.#closeHere(id, options);
  }

  #closeHere(id: LogIndex, options: CallOptions): Promise<undefined> {
    this.#checkLeader();
    const payload = encodeCloseSession({ clock: this.#parts.logClock.read(), id });
    return this.#propose<undefined>(EntryKind.closeSession, payload, options, (_applied, call) => {
      call.resolve(undefined);
    });
  }

  /**
   * Whether a call runs on this node, because it leads; else it is made at whichever node leads.
   *
   * @throws TransferringError this node leads, and takes no calls; RemovedError; NotLeaderError another node
   *   is known to lead, and calls aren't forwarded: all known before the command is encoded
   */
  #runsHere(): boolean {
    const { core, leader, removal, forwardRefusal: why } = this.#parts;
    if (core.role !== "leader") {
      const removed = removal.refusal;
      if (removed !== null) throw removed;
      if (why !== null && core.leader !== null) throw new NotLeaderError(leader(), { why });
      return false;
    }
    this.#checkLeader();
    return true;
  }

  /** Why a call whose result the state machine gives isn't forwarded; null: it is. */
  get #resultRefusal(): string | null {
    const { forwardRefusal, results } = this.#parts;
    if (forwardRefusal !== null || results.isAvailable) return forwardRefusal;
    return "this node can't forward writes, because stateMachine.codec has no encodeResult and decodeResult";
  }

  /** Whether the write runs on this node. @throws what `runsHere` throws, and errors of the options */
  #checkWrite(options: WriteOptions): boolean {
    this.#parts.calls.check(options);
    if (options.session !== undefined) this.#checkSession(options.session);
    return this.#runsHere();
  }

  #proposeCommand<T>(
    command: Uint8Array,
    session: SessionCommandId | undefined,
    options: CallOptions,
    settle: Settle<T, Result>,
  ): Promise<T> {
    if (session === undefined) return this.#propose(EntryKind.command, command, options, settle);
    const payload = encodeSessionCommand({ ...session, clock: this.#parts.logClock.read(), command });
    return this.#propose(EntryKind.sessionCommand, payload, options, settle);
  }

  #decodeResult(bytes: Uint8Array): Result {
    try {
      return this.#parts.results.decode(bytes);
    } catch (error) {
      throw undecodableResult(error);
    }
  }

  /** Proposes an entry; `settle` ends the call when the entry is applied on this node. */
  #propose<T>(
    kind: EntryKind,
    payload: Uint8Array,
    options: CallOptions,
    settle: Settle<T, Result>,
  ): Promise<T> {
    const { pending, driver } = this.#parts;
    const bytes = RECORD_HEADER_BYTES + payload.length;
    const refusal = pending.refusal(bytes);
    if (refusal !== null) throw refusal;
    // After the refusal: so at most one such entry waits for each command that waits, and `limits` bound
    // both. A command in a session tells the time itself.
    if (kind === EntryKind.command) this.#tellTime();
    const position = driver.propose(kind, payload);
    // The node has just stopped. Even if the core took the entry, nothing leaves a node before its turn ends.
    if (position === null) throw this.#parts.refusal() ?? new NotLeaderError(this.#parts.leader());
    this.#count += 1;
    const call = this.#parts.calls.begin<T>("proposal", options, PROPOSAL_ENDINGS);
    pending.add(new ProposedEntry(position, bytes, call, settle));
    return call.promise;
  }

  /**
   * Moves log time forward before a command, if the state machine uses it and is due to be told. The entry
   * travels in the batch of the command, so it costs no sync and no message.
   */
  #tellTime(): void {
    const { driver, logClock } = this.#parts;
    if (logClock.isStepDue) {
      driver.propose(EntryKind.sessionTime, encodeSessionTime({ clock: logClock.read() }));
    }
  }

  #checkLeader(): void {
    const { role, takesCommands, transferTarget } = this.#parts.core;
    if (role !== "leader") throw new NotLeaderError(this.#parts.leader());
    if (takesCommands) return;
    throw new TransferringError(
      transferTarget === null
        ? "this leader is leaving the cluster and takes no commands any more; try again in a moment"
        : `leadership is being handed over to ${transferTarget}; try again in a moment`,
    );
  }

  #checkSessions(): void {
    const { missingSupport } = this.#parts.sessions;
    if (missingSupport !== null) throw new InvalidOptionError(missingSupport);
  }

  #checkSession(session: SessionCommandId): void {
    this.#checkSessions();
    if (isCommandId(session)) return;
    throw new InvalidOptionError(
      `session is ${JSON.stringify(session)}; its id, sequence and lowestUnanswered should be whole numbers ` +
        "from 1 on, the last not above the sequence",
    );
  }
}

/** Connects an entry that was proposed with the call that waits for it. */
class ProposedEntry<T, Result> implements PendingProposal<Result> {
  readonly position: LogPosition;
  readonly bytes: number;
  readonly #call: Call<T>;
  readonly #settle: Settle<T, Result>;

  constructor(position: LogPosition, bytes: number, call: Call<T>, settle: Settle<T, Result>) {
    this.position = position;
    this.bytes = bytes;
    this.#call = call;
    this.#settle = settle;
  }

  applied(applied: AppliedEntry<Result>): void {
    this.#settle(applied, this.#call);
  }

  reject(error: RaftError): void {
    this.#call.reject(error);
  }
}

/** Ends a call with what became of its entry. */
type Settle<T, Result> = (applied: AppliedEntry<Result>, call: Call<T>) => void;

/** Ends the call of a write; `done` ends it if the command took effect. */
function settleWith<T, Result>(
  done: (call: Call<T>, applied: Extract<AppliedEntry<Result>, { readonly type: "done" }>) => void,
): Settle<T, Result> {
  return (applied, call) => {
    switch (applied.type) {
      case "done":
        done(call, applied);
        return;
      case "rejected":
        call.reject(applied.error);
        return;
      default:
        throw new ProtocolViolation("a command was proposed, and something else was applied in its place");
    }
  };
}

const PROPOSAL_ENDINGS: CallEndings = {
  onCancel: (cancellation) =>
    new AbortedError(
      "unknown",
      `${describeCancellation(cancellation)}; the command was proposed and may still take effect`,
      causeOf(cancellation),
    ),
};

const NO_COMMAND = new Uint8Array(0);

/** The command took effect; only its result can't be decoded. */
function undecodableResult(error: unknown): ResultUnavailableError {
  return new ResultUnavailableError(
    `the command took effect, and its result could not be decoded: ${reasonOf(error)}`,
    { cause: error },
  );
}

/** Ends a write's call. `result` runs the codec, which may throw. */
function settleResult<Result>(call: Call<WriteResult<Result>>, index: LogIndex, result: () => Result): void {
  try {
    call.resolve({ index, result: result() });
  } catch (error) {
    call.reject(undecodableResult(error));
  }
}
