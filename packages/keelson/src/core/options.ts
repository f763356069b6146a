// How a node behaves: the options, their defaults, and what they must satisfy.
import { assert } from "./assert.ts";
import type { HardState } from "./action.ts";
import type { LogImage } from "./log.ts";
import type { LogIndex, NodeId } from "./position.ts";

/** The options of a node. Times are in milliseconds, on the clock that the caller passes as `now`. */
export interface RaftNodeOptions {
  readonly id: NodeId;
  /** Returns a number in [0, 1): the node's only source of randomness. */
  readonly random: () => number;
  /** The election timeout is drawn anew from [min, max) each time (§5.2). Default: 400 to 800. */
  readonly electionTimeoutMs?: { readonly min: number; readonly max: number };
  /** How often a leader sends heartbeats. At most half of the shortest election timeout. Default: 80. */
  readonly heartbeatMs?: number;
  /**
   * Whether a node asks if it could win an election before it starts one (dissertation 9.6). Default: true.
   */
  readonly preVote?: boolean;
  /**
   * Whether a leader steps down when it hears no quorum for the longest election timeout, and a follower that
   * hears its leader refuses other candidates (dissertation 6.2, 4.2.3). Leases need it. Default: true.
   */
  readonly checkQuorum?: boolean;
  /**
   * How far two clocks may drift apart, as a share of the time that passes: lease reads rely on this bound
   * (dissertation 6.4.1). Default: 0.05, which is 20 ms in 400 ms.
   */
  readonly clockDriftMax?: number;
  /**
   * A log write that isn't reported durable for this long counts as stalled. A leader with a stalled write
   * hands its leadership to another node, and a node with one starts no election. Other parts are the
   * caller's to watch (`RaftNode.handleServiceStall`). Default: twice the longest election timeout.
   */
  readonly storageStallMs?: number;
  /** The most entries in one AppendEntries. Default: 4,096. */
  readonly messageEntriesMax?: number;
  /**
   * The most bytes of records in one AppendEntries, though it always holds at least one entry. Default: 1
   * MiB.
   */
  readonly messageBytesMax?: number;
  /**
   * The leader sends a follower no further entries while this many messages with entries are unacknowledged.
   * Default: 64.
   */
  readonly inflightMessagesMax?: number;
  /**
   * The leader sends no further entries to a follower while this many bytes or more are unacknowledged. The
   * last message may go beyond the limit. Default: 8 MiB.
   */
  readonly inflightBytesMax?: number;
  /**
   * The most reads that may be unanswered on this node, those of other nodes included; further ones fail at
   * once. Default: 65,536.
   */
  readonly readsMax?: number;
  /**
   * How many bytes the records of the entries `[from, to)` have: the core holds no records, and the limits on
   * bytes need it. Must be a pure function of the log. Default: always 0, so that only the limits on the
   * numbers of entries and messages apply.
   */
  readonly bytesBetween?: (from: LogIndex, to: LogIndex) => number;
}

/** What a node restarts from. All of it must be durable. */
export interface RestartOptions extends RaftNodeOptions {
  readonly now: number;
  readonly hardState: HardState;
  readonly log: LogImage;
  /** An index known to be committed: what the state machine holds already. Default: the log's base. */
  readonly commitIndex?: LogIndex;
}

/** Options with the defaults filled in. */
export type Options = Required<RaftNodeOptions>;

/** The options that limit a number of things. */
const LIMITS = [
  "messageEntriesMax",
  "messageBytesMax",
  "inflightMessagesMax",
  "inflightBytesMax",
  "readsMax",
] as const;

/** Fills in the defaults. Throws `ProtocolViolation` for options that no node could work with. */
export function withDefaults(options: RaftNodeOptions): Options {
  const full: Options = {
    id: options.id,
    random: options.random,
    electionTimeoutMs: options.electionTimeoutMs ?? { min: 400, max: 800 },
    heartbeatMs: options.heartbeatMs ?? 80,
    preVote: options.preVote ?? true,
    checkQuorum: options.checkQuorum ?? true,
    clockDriftMax: options.clockDriftMax ?? 0.05,
    storageStallMs: options.storageStallMs ?? 2 * (options.electionTimeoutMs?.max ?? 800),
    messageEntriesMax: options.messageEntriesMax ?? 4096,
    messageBytesMax: options.messageBytesMax ?? 1024 * 1024,
    inflightMessagesMax: options.inflightMessagesMax ?? 64,
    inflightBytesMax: options.inflightBytesMax ?? 8 * 1024 * 1024,
    readsMax: options.readsMax ?? 65_536,
    bytesBetween: options.bytesBetween ?? (() => 0),
  };
  const { min, max } = full.electionTimeoutMs;
  assert(full.id.length > 0, "a node has an id");
  assert(min > 0 && max >= min && max < Infinity, "electionTimeoutMs is a range of positive times");
  assert(
    full.heartbeatMs > 0 && full.heartbeatMs <= min / 2,
    "heartbeatMs is at most half of electionTimeoutMs.min",
  );
  assert(
    full.clockDriftMax >= 0 && full.clockDriftMax < 1,
    "clockDriftMax is a share: from 0 to less than 1",
  );
  assert(full.storageStallMs > 0, "storageStallMs is a positive time");
  for (const name of LIMITS) {
    assert(Number.isSafeInteger(full[name]) && full[name] > 0, `${name} is a positive whole number`);
  }
  return full;
}
