import { assert } from "./assert.ts";
import type { HardState } from "./action.ts";
import type { LogImage } from "./log.ts";
import type { LogIndex, NodeId } from "./position.ts";

/** How a node behaves. Times are in milliseconds, on the clock whose readings the caller passes as `now`. */
export interface RaftNodeOptions {
  readonly id: NodeId;
  /** A number in [0, 1): the node's only source of chance. */
  readonly random: () => number;
  /** The election timeout is drawn anew from [min, max) each time (§5.2). Default 400 to 800. */
  readonly electionTimeoutMs?: { readonly min: number; readonly max: number };
  /** How often an idle leader lets itself be heard. At most half of the shortest election timeout. Default 80. */
  readonly heartbeatMs?: number;
  /** Ask whether an election could be won before starting one (dissertation 9.6). Default true. */
  readonly preVote?: boolean;
  /** A leader that hears no majority steps down, and a follower that hears its leader refuses other candidates (dissertation 6.2, 4.2.3). Default true. */
  readonly checkQuorum?: boolean;
  /**
   * How far two clocks may drift apart, as a share of the time that passes: the bound that lease reads rest on
   * (dissertation 6.4.1). Default 0.05: of 400 ms, 20.
   */
  readonly clockDriftMax?: number;
  /**
   * A leader whose own disk has not finished a write for this long hands its leadership on, and no node with such
   * a write under way campaigns. Default: twice the longest election timeout.
   */
  readonly storageStallMs?: number;
  /** Entries in one AppendEntries. Default 4,096. */
  readonly messageEntriesMax?: number;
  /** Bytes of records in one AppendEntries, though always at least one entry. Default 1 MiB. */
  readonly messageBytesMax?: number;
  /** AppendEntries with entries under way to one follower. Default 64. */
  readonly inflightMessagesMax?: number;
  /** Bytes of records under way to one follower; the last message may go over. Default 8 MiB. */
  readonly inflightBytesMax?: number;
  /** Reads waiting at once; one more fails at once. Default 65,536. */
  readonly readsMax?: number;
  /** The bytes that the records of `[from, to)` take. A pure function of the log. Default: 0, so that only entries count. */
  readonly bytesBetween?: (from: LogIndex, to: LogIndex) => number;
}

/** What a node restarts from. All of it is durable. */
export interface RestartOptions extends RaftNodeOptions {
  readonly now: number;
  readonly hardState: HardState;
  readonly log: LogImage;
  /** Known to be committed: what the state machine holds already. Default: the log's base. */
  readonly commitIndex?: LogIndex;
}

/** Options with the defaults filled in. */
export type Options = Required<RaftNodeOptions>;

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

const LIMITS = [
  "messageEntriesMax",
  "messageBytesMax",
  "inflightMessagesMax",
  "inflightBytesMax",
  "readsMax",
] as const;
