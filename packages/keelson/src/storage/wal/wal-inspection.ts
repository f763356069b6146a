import type { Membership } from "../../codec/config.ts";
import type { EntryKind } from "../../codec/record.ts";
import type { HardState } from "../../core/action.ts";
import type { TermRun } from "../../core/message.ts";
import type { LogIndex, LogPosition, NodeId, Term } from "../../core/position.ts";

// What `inspectWal` returns.

/**
 * A membership, with the position of the configuration entry that holds it. The base's membership has the
 * base's position instead: its own entry may be an earlier one, and is no longer in the log.
 */
export interface MembershipEntry {
  readonly index: LogIndex;
  readonly term: Term;
  readonly membership: Membership;
}

/** The number of entries of one kind, and the bytes of their records. */
export interface EntryTally {
  readonly count: number;
  readonly bytes: number;
}

/** One segment of the log. */
export interface SegmentSummary {
  readonly file: string;
  /** The size of the file. */
  readonly bytes: number;
  /** How many batches were read from it. */
  readonly batches: number;
  /** The range of the entries that were written to it, later overwritten ones included; null: none. */
  readonly entries: { readonly first: LogIndex; readonly last: LogIndex } | null;
}

/** Where a log is damaged, and what is still readable after that place. */
export interface WalDamage {
  readonly file: string;
  /** In bytes from the start of `file`. */
  readonly offset: number;
  /** The first entry that may be affected; null: not known. */
  readonly index: LogIndex | null;
  /** Everything a person needs to know, with what to do. */
  readonly message: string;
  /** How many batches after the damage can still be read: what a repair by hand could save. */
  readonly readableBatches: number;
  /** The range of the entries in those batches; null: none. */
  readonly readableEntries: { readonly first: LogIndex; readonly last: LogIndex } | null;
}

/** What a log on disk holds. If it's damaged: what it holds before the damage. */
export interface WalInspection {
  readonly directory: string;
  /** null: not known, because the first header is damaged. */
  readonly nodeId: NodeId | null;
  /** null: the node belongs to no cluster yet, or the first header is damaged. */
  readonly clusterId: string | null;
  /** null: not known, because the first header is damaged. */
  readonly storeId: string | null;
  readonly hardState: HardState;
  /** The last entry that is no longer in the log, because a snapshot covers it; `ORIGIN`: none. */
  readonly base: LogPosition;
  readonly last: LogPosition;
  /**
   * The entries in the log, counted by kind. Entries in deleted segments are left out, as their kinds aren't
   * known.
   */
  readonly entries: Readonly<Record<keyof typeof EntryKind, EntryTally>>;
  /**
   * Every membership in the log, ascending by index; the first one is that of the base, unless the base is
   * `ORIGIN`.
   */
  readonly memberships: readonly MembershipEntry[];
  readonly segments: readonly SegmentSummary[];
  /**
   * Where a torn write begins: one that was interrupted and never acknowledged, or, while the node runs, one
   * that is in progress. null: none.
   */
  readonly torn: { readonly file: string; readonly offset: number } | null;
  /** The term runs of the entries after `base`, ascending by index. */
  readonly terms: readonly TermRun[];
  /** null: every checksum was right, and everything fits together. */
  readonly damage: WalDamage | null;
  /**
   * Copies of the records in the range that was asked for, as far as the log holds them; ascending by index.
   */
  readonly records: readonly Uint8Array[];
}
