/**
 * Checks what each node's log store is given, what it reports as durable, and what it returns. It sees the
 * same calls as the store (`ObservedLog` makes them), so it needs no trust in the node.
 *
 * - DUR: after a restart nothing is missing or changed that was durable; a read returns what was written.
 * - MONO: a durable term never falls, and a vote doesn't change within its term.
 * - ES: no node votes durably for two candidates in one term.
 * - ORD: a log has no gaps, and begins after a committed entry.
 * - LM: a position (index and term) stands for the same log, payloads included, on every node and at any
 *   time.
 * - SMS: no committed entry is truncated.
 * - PBR: writes become durable in the order in which they were submitted.
 * - CFG: a snapshot, and a log that begins after one, go with the membership that was in force at its index,
 *   addresses and removed members included; a member that leaves is remembered as removed from then on.
 *
 * It can't see damage that nobody reads back; the simulation reads each log once at the end.
 */
import { crc32 } from "node:zlib";

import { decodeMembership, encodeMembership, REMOVED_MAX } from "../../../codec/config.ts";
import { decodeRecord, EntryKind, recordIndex, recordKind, recordTerm } from "../../../codec/record.ts";
import { sameConfig, type ClusterConfig } from "../../../core/config.ts";
import type { LogIndex, NodeId } from "../../../core/position.ts";
import type { LogBase, LogWrite, StoredLog } from "../../../storage/log-store.ts";
import {
  showHardState,
  type ClusterHistory,
  type NodeHistory,
  type SeenConfig,
  type SeenEntry,
} from "./cluster-history.ts";
import { assertInvariant } from "./violation.ts";
import { showConfig } from "./votes.ts";

/**
 * The entries that a read asks for, and the entry before them; undefined: they begin with entry 1. The store
 * may return only the first of them, but no others.
 */
export interface ExpectedEntries {
  readonly before: SeenEntry | undefined;
  readonly entries: readonly SeenEntry[];
}

/** See the file's header. */
export class StoreChecker {
  readonly #history: ClusterHistory;
  /**
   * By term and index: the entry there, which stands for the only log that may end with it. Nodes with equal
   * logs share their entries. Grows with the run.
   */
  readonly #entries = new Map<number, Map<LogIndex, SeenEntry>>();

  constructor(history: ClusterHistory) {
    this.#history = history;
  }

  /**
   * Checks the log, term and vote that a process found when it opened its store, and takes them as what the
   * node holds now.
   */
  opened(id: NodeId, stored: StoredLog, records: readonly Uint8Array[]): void {
    const node = this.#history.node(id);
    const found = this.#history.committedUpTo(id, stored.base);
    this.#extend(node, found, records);
    this.#checkNothingLost(node, stored, found);
    const { hardState } = stored;
    const before = node.hardState;
    assertInvariant(
      hardState.term > before.term ||
        (hardState.term === before.term &&
          (before.votedFor === null || before.votedFor === hardState.votedFor)),
      "MONO",
      () => `${id} forgot its term and vote: ${showHardState(before)} became ${showHardState(hardState)}`,
    );
    this.#history.recordVote(id, hardState);
    node.incarnation += 1;
    node.hardState = hardState;
    node.submitted = found;
    node.durable = [...found];
    node.pending = [];
    node.resetting = null;
    node.commit = 0;
    node.applied = 0;
    node.leaderTerm = 0;
    node.withoutMajoritySince = null;
  }

  /**
   * DUR: what was durable is there, except for what a write under way at the crash may have truncated or
   * reset.
   */
  #checkNothingLost(node: NodeHistory, stored: StoredLog, found: readonly SeenEntry[]): void {
    const isReset = node.resetting !== null && stored.base.index === node.resetting.position.index;
    let kept = isReset ? 0 : node.durable.length;
    for (const { truncateFrom } of node.pending) {
      if (truncateFrom !== null) kept = Math.min(kept, truncateFrom - 1);
    }
    for (let at = 0; at < kept; at++) {
      assertInvariant(
        found[at]?.chain === node.durable[at]?.chain,
        "DUR",
        () => `the log of ${node.id} lost or changed its durable entry ${String(at + 1)} in a crash`,
      );
    }
  }

  /**
   * The node's disk is replaced by an older copy of itself. DUR, MONO and ES don't hold for what this node
   * forgot: entries, its term, votes. They hold for everything that its next processes do.
   */
  rolledBack(id: NodeId): void {
    this.diskLost(id);
    this.#history.forgetVotes(id);
  }

  /**
   * The node's disk is gone. What was durable may still be counted as acknowledged. The next process with its
   * id has to start from nothing.
   */
  diskLost(id: NodeId): void {
    const node = this.#history.node(id);
    node.durableBeforeDiskLoss = node.durable;
    node.durable = [];
    node.submitted = [];
    node.pending = [];
    node.hardState = { term: 0, votedFor: null };
    node.leaderTerm = 0;
  }

  /**
   * Checks the base that the log is to begin after, when the store is told to drop the entries up to it
   * (compact), or, with `resets`, the whole log.
   */
  replacing(id: NodeId, base: LogBase, resets: boolean): void {
    const { position } = base;
    this.#history.committedUpTo(id, position);
    this.checkMembershipAt(id, position.index, base.config);
    if (resets) this.#history.node(id).resetting = base;
  }

  /** The store's reset is durable: the log is empty and begins after `base`. */
  replaced(id: NodeId, { position }: LogBase): void {
    const node = this.#history.node(id);
    node.resetting = null;
    node.submitted = this.#history.committedUpTo(id, position);
    node.durable = [...node.submitted];
  }

  /** CFG: checks that this configuration was in force after entry `index`. */
  checkConfigAt(id: NodeId, index: LogIndex, config: ClusterConfig): void {
    const inForce = this.#history.committed[index - 1]?.inForce?.membership.config;
    assertInvariant(
      inForce !== undefined && sameConfig(inForce, config),
      "CFG",
      () =>
        `${id} has ${showConfig(config)} for the state after ${String(index)}, where it was ${showConfig(inForce)}`,
    );
  }

  /**
   * CFG: checks that this membership, encoded, was in force after entry `index`. Commits are seen at the end
   * of a turn, and a node may begin a snapshot in the turn in which it commits and applies: then its own log
   * tells.
   */
  checkMembershipAt(id: NodeId, index: LogIndex, payload: Uint8Array): void {
    const entry = this.#history.committed[index - 1] ?? this.#history.node(id).submitted[index - 1];
    const inForce = entry?.inForce?.membership;
    const expected = inForce && encodeMembership(inForce);
    assertInvariant(
      expected !== undefined && Buffer.compare(expected, payload) === 0,
      "CFG",
      () =>
        `${id} has ${textOf(payload)} for the state after ${String(index)}, where it was ${textOf(expected)}`,
    );
  }

  /** Checks a write that the store is given: the entries that it removes and those that it adds. */
  submitted(id: NodeId, write: LogWrite): void {
    const node = this.#history.node(id);
    if (write.truncateFrom !== null) {
      assertInvariant(
        write.truncateFrom > node.commit,
        "SMS",
        () => `${id} removes the entry ${String(write.truncateFrom)}, which is committed`,
      );
      node.submitted.length = Math.min(node.submitted.length, write.truncateFrom - 1);
      // The node follows another leader now. What others acknowledged to it as leader may no longer be in its
      // log.
      node.leaderTerm = 0;
    }
    this.#extend(node, node.submitted, write.records);
    node.pending.push(write);
  }

  /**
   * Checks the order of the writes that the store reports as durable, and their terms and votes. A report
   * from an earlier process is ignored.
   */
  durable(id: NodeId, incarnation: number, write: LogWrite): void {
    const node = this.#history.node(id);
    if (node.incarnation !== incarnation) return;
    assertInvariant(
      node.pending[0] === write,
      "PBR",
      () => `the store of ${id} called writes durable out of order`,
    );
    node.pending.shift();
    if (write.truncateFrom !== null) {
      node.durable.length = Math.min(node.durable.length, write.truncateFrom - 1);
    }
    this.#extend(node, node.durable, write.records);
    if (write.hardState === null) return;
    assertInvariant(
      write.hardState.term >= node.hardState.term,
      "MONO",
      () => `the durable term of ${id} fell from ${showHardState(node.hardState)}`,
    );
    this.#history.recordVote(id, write.hardState);
    node.hardState = write.hardState;
  }

  /** The end of the log that the store has been given up to now: one after its last entry. */
  endOf(id: NodeId): LogIndex {
    return this.#history.node(id).submitted.length + 1;
  }

  /**
   * What the store has been given up to now as the entries [from, to), and as the one before them, for `read`
   * to compare with.
   */
  expect(id: NodeId, from: LogIndex, to: LogIndex): ExpectedEntries {
    const { submitted } = this.#history.node(id);
    return { before: submitted[from - 2], entries: submitted.slice(from - 1, to - 1) };
  }

  /**
   * DUR: the store returned these records from entry `from` on. `expected` is what it had been given when the
   * read began.
   */
  read(id: NodeId, from: LogIndex, records: readonly Uint8Array[], expected: ExpectedEntries): void {
    let chain = expected.before?.chain ?? 0;
    for (const [at, record] of records.entries()) {
      chain = crc32(record, chain);
      assertInvariant(
        chain === expected.entries[at]?.chain,
        "DUR",
        () => `the store of ${id} returns another entry ${String(from + at)} than it was given`,
      );
    }
  }

  /** The node's incarnation, for `durable`. */
  incarnation(id: NodeId): number {
    return this.#history.node(id).incarnation;
  }

  /**
   * Appends records to `log`. ORD: no gap. LM: terms don't fall, and the position was never seen with another
   * log.
   */
  #extend(node: NodeHistory, log: SeenEntry[], records: readonly Uint8Array[]): void {
    for (const record of records) {
      const index = recordIndex(record);
      const term = recordTerm(record);
      const before = log.at(-1);
      assertInvariant(
        index === log.length + 1,
        "ORD",
        () => `the log of ${node.id} has a gap before ${String(index)}`,
      );
      assertInvariant(
        (before?.term ?? 0) <= term,
        "LM",
        () => `terms fall in the log of ${node.id} at ${String(index)}`,
      );
      const chain = crc32(record, before?.chain ?? 0);
      const known = this.#entries.get(term)?.get(index);
      assertInvariant(
        known === undefined || known.chain === chain,
        "LM",
        () =>
          `${node.id} holds another entry ${String(index)}@${String(term)}, or another log before it, than was ` +
          "seen before",
      );
      const entry = known ?? this.#remember(index, seenEntry(record, chain, before?.inForce ?? null));
      if (entry.inForce !== before?.inForce) checkNobodyForgotten(node.id, entry.inForce);
      log.push(entry);
    }
  }

  #remember(index: LogIndex, entry: SeenEntry): SeenEntry {
    let ofTerm = this.#entries.get(entry.term);
    if (ofTerm === undefined) {
      ofTerm = new Map();
      this.#entries.set(entry.term, ofTerm);
    }
    ofTerm.set(index, entry);
    return entry;
  }
}

/**
 * CFG: members that left, with this configuration entry or before it, are remembered: an id isn't used again.
 */
function checkNobodyForgotten(id: NodeId, entry: SeenConfig | null): void {
  const before = entry?.before?.membership;
  if (entry === null || before === undefined) return;
  const { members, removed = [] } = entry.membership;
  const gone = [...(before.removed ?? []), ...[...before.members.keys()].filter((one) => !members.has(one))];
  const forgotten = gone.find((one) => !removed.includes(one));
  assertInvariant(
    forgotten === undefined || removed.length >= REMOVED_MAX,
    "CFG",
    () => `the log of ${id} forgets at ${String(entry.index)} that ${String(forgotten)} was removed`,
  );
}

function textOf(payload: Uint8Array | undefined): string {
  return payload === undefined ? "none" : Buffer.from(payload).toString();
}

function seenEntry(record: Uint8Array, chain: number, inForce: SeenConfig | null): SeenEntry {
  const kind = recordKind(record);
  const isConfig = kind === EntryKind.config;
  return {
    term: recordTerm(record),
    chain,
    isCommand: kind === EntryKind.command,
    inForce: isConfig
      ? {
          index: recordIndex(record),
          membership: decodeMembership(decodeRecord(record).payload),
          before: inForce,
        }
      : inForce,
  };
}
