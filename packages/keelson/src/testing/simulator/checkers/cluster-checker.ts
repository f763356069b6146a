import { crc32 } from "node:zlib";

import { decodeMembership, type Membership } from "../../../codec/config.ts";
import { decodeRecord, EntryKind, recordIndex, recordKind, recordTerm } from "../../../codec/record.ts";
import type { HardState } from "../../../core/action.ts";
import { sameConfig, type ClusterConfig } from "../../../core/config.ts";
import type { Message } from "../../../core/message.ts";
import type { LogIndex, LogPosition, NodeId } from "../../../core/position.ts";
import type { LogBase, LogWrite, StoredLog } from "../../../storage/log-store.ts";
import { fact } from "./violation.ts";
import { hasVote, isAlone, isQuorum, showConfig } from "./votes.ts";

/** One entry as the checker keeps it: the chain tells the whole log up to it, payloads included. */
interface Entry {
  readonly term: number;
  readonly chain: number;
  readonly isCommand: boolean;
  /** The configuration that is in force in a log that ends here; null: there is none yet. */
  readonly inForce: ConfigEntry | null;
}

/** A configuration entry, and the one before it in the same log. */
interface ConfigEntry {
  readonly index: LogIndex;
  readonly membership: Membership;
  readonly before: ConfigEntry | null;
}

/** What is known of one node, from outside: from its disk, its messages and its state machine. */
interface NodeView {
  readonly id: NodeId;
  /** Of each entry from 1 on: what the store was given, durable or not. */
  handed: Entry[];
  /** What the store has called durable. */
  durable: Entry[];
  /** What was durable when its disk was lost: it was said then, and may still be counted. */
  lost: readonly Entry[];
  hardState: HardState;
  /** Given to the store and not yet called durable. */
  pending: LogWrite[];
  /** The snapshot that its log is being replaced by; null: it is not. */
  resetting: LogBase | null;
  incarnation: number;
  commit: number;
  applied: number;
  leaderTerm: number;
  /** As leader of `leaderTerm`: what it knew of each member. */
  readonly matches: Map<NodeId, number>;
  /** The oldest write of entries under way, and since when it was seen to be. */
  oldest: { readonly write: LogWrite; readonly since: number } | null;
  /** As leader: since when it has not heard a majority; null: it hears one. */
  aloneSince: number | null;
}

/** What the checker looks at after a step. */
export interface NodeStatus {
  readonly role: string;
  readonly term: number;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  readonly lastIndex: number;
  /** Looked at when the node has stopped; absent: its log ends there. */
  readonly durableIndex?: number;
  readonly config: ClusterConfig;
  readonly members: readonly {
    readonly id: NodeId;
    readonly voter: boolean;
    readonly match: number | null;
    readonly active: boolean | null;
  }[];
  readonly pendingEntries: number;
  readonly pendingBytes: number;
  /** Bytes of what was passed on; absent: the node passes nothing on. */
  readonly forwardedBytes?: number;
  /** The first entry in the log, and the last that a snapshot covers; absent: a snapshot may have been damaged. */
  readonly firstIndex?: number;
  readonly snapshots?: { readonly newest: { readonly index: number } | null } | null | undefined;
}

/** What the run promises the nodes, so that the checker may ask more of them. */
export interface ClusterTerms {
  readonly pendingEntriesMax: number;
  readonly pendingBytesMax: number;
  /** A leader that hears no majority for longer than this steps down; Infinity: it need not. */
  readonly aloneMsMax: number;
  /** A leader among others whose own disk takes longer for a write hands over; Infinity: it need not. */
  readonly stalledMsMax: number;
  /** A leader that has led for so long has nothing to fear in this run; Infinity: it has. */
  readonly settledMs: number;
}

/**
 * Watches a cluster and throws a `Violation` when an invariant breaks. It keeps the whole history,
 * so it also notices what no two nodes ever hold at the same time. It believes nothing that a node
 * says of its own disk: it sees what the store was given, and what the store called durable.
 *
 * The codes: ES election safety · LM log matching, payloads included · LC leader completeness · SMS
 * state machine safety · CQ commit needs a durable quorum · MONO nothing falls · ORD applied ≤ commit ≤
 * log · PBR persist before reply · STABLE no leader is deposed without need · BOUND no queue outgrows its limit.
 */
export class ClusterChecker {
  readonly #terms: ClusterTerms;
  readonly #views = new Map<NodeId, NodeView>();
  #lastLeader: { readonly id: NodeId; readonly term: number; readonly since: number } | null = null;
  readonly #leaders = new Map<number, NodeId>();
  readonly #votes = new Map<string, NodeId>();
  /** By position: the chain of the one entry that may be there. */
  readonly #chains = new Map<string, number>();
  /** By index - 1. */
  readonly #committed: (Entry & { readonly seenInTerm: number })[] = [];
  readonly #applied = new Map<number, { readonly term: number; readonly command: string }>();

  constructor(terms: ClusterTerms) {
    this.#terms = terms;
  }

  /** How many entries were seen to be committed. */
  get committed(): number {
    return this.#committed.length;
  }

  #view(id: NodeId): NodeView {
    let view = this.#views.get(id);
    if (view === undefined) {
      view = {
        id,
        handed: [],
        durable: [],
        lost: [],
        hardState: { term: 0, votedFor: null },
        pending: [],
        resetting: null,
        incarnation: 0,
        commit: 0,
        applied: 0,
        leaderTerm: 0,
        matches: new Map(),
        oldest: null,
        aloneSince: null,
      };
      this.#views.set(id, view);
    }
    return view;
  }

  // --- The log store ----------------------------------------------------------------------------

  /** A process opened its store and found this. Nothing that was called durable may be missing. */
  opened(id: NodeId, stored: StoredLog, records: readonly Uint8Array[]): void {
    const view = this.#view(id);
    const found = this.#covered(id, stored.base);
    this.#extend(view, found, records);
    const isReset = view.resetting !== null && stored.base.index === view.resetting.position.index;
    let kept = isReset ? 0 : view.durable.length;
    for (const { truncateFrom } of view.pending) {
      if (truncateFrom !== null) kept = Math.min(kept, truncateFrom - 1);
    }
    for (let at = 0; at < kept; at++) {
      fact(
        found[at]?.chain === view.durable[at]?.chain,
        "DUR",
        () => `the log of ${id} lost or changed its durable entry ${String(at + 1)} in a crash`,
      );
    }
    const { hardState } = stored;
    const before = view.hardState;
    fact(
      hardState.term > before.term ||
        (hardState.term === before.term &&
          (before.votedFor === null || before.votedFor === hardState.votedFor)),
      "MONO",
      () => `${id} forgot its term and vote: ${show(before)} became ${show(hardState)}`,
    );
    this.#checkVote(id, hardState);
    view.incarnation += 1;
    view.hardState = hardState;
    view.handed = found;
    view.durable = [...found];
    view.pending = [];
    view.resetting = null;
    view.commit = 0;
    view.applied = 0;
    view.leaderTerm = 0;
    view.aloneSince = null;
  }

  /** The node's disk is gone, and everything with it; whatever comes under its id next has to start from nothing. */
  wiped(id: NodeId): void {
    const view = this.#view(id);
    view.lost = view.durable;
    view.durable = [];
    view.handed = [];
    view.pending = [];
    view.hardState = { term: 0, votedFor: null };
    view.leaderTerm = 0;
  }

  /** What a snapshot stands for is what was committed up to there. */
  #covered(id: NodeId, { index, term }: LogPosition): Entry[] {
    fact(
      index <= this.#committed.length && (index === 0 || this.#committed[index - 1]?.term === term),
      "ORD",
      () => `the log of ${id} begins after ${String(index)}@${String(term)}, which is not committed`,
    );
    return this.#committed.slice(0, index);
  }

  /** The node's store is to forget what a snapshot covers, or all that it holds (`resets`), for this base. */
  replacing(id: NodeId, base: LogBase, resets: boolean): void {
    const { position } = base;
    this.#covered(id, position);
    this.#checkConfigAt(id, position.index, decodeMembership(base.config).config);
    if (resets) this.#view(id).resetting = base;
  }

  /** The log begins after the base now, durably, and holds nothing. */
  replaced(id: NodeId, { position }: LogBase): void {
    const view = this.#view(id);
    view.resetting = null;
    view.handed = this.#covered(id, position);
    view.durable = [...view.handed];
  }

  /** CFG: a snapshot goes with the configuration that was in force at its index. */
  #checkConfigAt(id: NodeId, index: LogIndex, config: ClusterConfig): void {
    const inForce = this.#committed[index - 1]?.inForce?.membership.config;
    fact(
      inForce !== undefined && sameConfig(inForce, config),
      "CFG",
      () =>
        `${id} has ${showConfig(config)} for the state after ${String(index)}, where it was ${showConfig(inForce)}`,
    );
  }

  handed(id: NodeId, write: LogWrite): void {
    const view = this.#view(id);
    if (write.truncateFrom !== null) {
      fact(
        write.truncateFrom > view.commit,
        "SMS",
        () => `${id} removes the entry ${String(write.truncateFrom)}, which is committed`,
      );
      view.handed.length = Math.min(view.handed.length, write.truncateFrom - 1);
      // It follows another: what was acknowledged to it when it led may be gone from here by now.
      view.leaderTerm = 0;
    }
    this.#extend(view, view.handed, write.records);
    view.pending.push(write);
  }

  durable(id: NodeId, incarnation: number, write: LogWrite): void {
    const view = this.#view(id);
    if (view.incarnation !== incarnation) return;
    fact(view.pending[0] === write, "PBR", () => `the store of ${id} called writes durable out of order`);
    view.pending.shift();
    if (write.truncateFrom !== null) {
      view.durable.length = Math.min(view.durable.length, write.truncateFrom - 1);
    }
    this.#extend(view, view.durable, write.records);
    if (write.hardState === null) return;
    fact(
      write.hardState.term >= view.hardState.term,
      "MONO",
      () => `the durable term of ${id} fell from ${show(view.hardState)}`,
    );
    this.#checkVote(id, write.hardState);
    view.hardState = write.hardState;
  }

  /** The log that the store was given up to now, to be compared with what it returns for a read that begins now. */
  logOf(id: NodeId): readonly Entry[] {
    return [...this.#view(id).handed];
  }

  /** The store returned these records for the entries from `from` on, when it had been given `expected`. */
  read(id: NodeId, from: LogIndex, records: readonly Uint8Array[], expected: readonly Entry[]): void {
    for (const [at, record] of records.entries()) {
      const index = from + at;
      fact(
        crc32(record, expected[index - 2]?.chain ?? 0) === expected[index - 1]?.chain,
        "DUR",
        () => `the store of ${id} returns another entry ${String(index)} than it was given`,
      );
    }
  }

  incarnation(id: NodeId): number {
    return this.#view(id).incarnation;
  }

  #extend(view: NodeView, log: Entry[], records: readonly Uint8Array[]): void {
    for (const record of records) {
      const index = recordIndex(record);
      const term = recordTerm(record);
      fact(index === log.length + 1, "ORD", () => `the log of ${view.id} has a gap before ${String(index)}`);
      const before = log.at(-1);
      fact(
        (before?.term ?? 0) <= term,
        "LM",
        () => `terms fall in the log of ${view.id} at ${String(index)}`,
      );
      // The chain over all records up to this one, so equal chains are equal logs.
      const chain = crc32(record, before?.chain ?? 0);
      const key = `${String(index)}@${String(term)}`;
      const known = this.#chains.get(key);
      fact(
        known === undefined || known === chain,
        "LM",
        () => `${view.id} holds another entry ${key}, or another log before it, than was seen before`,
      );
      this.#chains.set(key, chain);
      const kind = recordKind(record);
      const inForce = before?.inForce ?? null;
      log.push({
        term,
        chain,
        isCommand: kind === EntryKind.command,
        inForce:
          kind === EntryKind.config
            ? { index, membership: decodeMembership(decodeRecord(record).payload), before: inForce }
            : inForce,
      });
    }
  }

  /** A vote counts once it is durable: one that a crash undid before was never told to anyone (PBR). */
  #checkVote(id: NodeId, { term, votedFor }: HardState): void {
    if (votedFor === null) return;
    const key = `${id}@${String(term)}`;
    const before = this.#votes.get(key) ?? votedFor;
    fact(
      before === votedFor,
      "ES",
      () => `${id} voted for ${before} and for ${votedFor} in term ${String(term)}`,
    );
    this.#votes.set(key, votedFor);
  }

  // --- Who takes part --------------------------------------------------------------------------

  /** The last configuration that was seen to be committed; null: none was. */
  get committedMembership(): Membership | null {
    return this.#committed.at(-1)?.inForce?.membership ?? null;
  }

  /** Every configuration that some node acts on, or would fall back on. */
  get configs(): ClusterConfig[] {
    return [...this.#views.values()].flatMap(({ handed }) => {
      const last = handed.at(-1)?.inForce ?? null;
      return [last, last?.before ?? null].flatMap((entry) =>
        entry === null ? [] : [entry.membership.config],
      );
    });
  }

  /** Whether this node holds, and will always hold, which disk the member `of` has: it can tell another one. */
  knowsDisk(id: NodeId, of: NodeId): boolean {
    const { durable } = this.#view(id);
    const last = Math.min(durable.length, this.#committed.length);
    const isThere = durable[last - 1]?.chain === this.#committed[last - 1]?.chain;
    return isThere && durable[last - 1]?.inForce?.membership.members.get(of)?.storeId !== undefined;
  }

  /** The last entry that this node's state machine applied, or began with. */
  appliedTo(id: NodeId): LogIndex {
    return this.#view(id).applied;
  }

  // --- Messages ---------------------------------------------------------------------------------

  /** A message leaves: everything that it asserts must be durable. */
  sending(id: NodeId, to: NodeId, message: Message): void {
    const view = this.#view(id);
    const { hardState } = view;
    fact(
      message.term <= hardState.term,
      "PBR",
      () => `${id} sends a ${message.type} of term ${String(message.term)} before that term is durable`,
    );
    if (message.type === "install-snapshot") this.#checkConfigAt(id, message.last.index, message.config);
    if (message.term !== hardState.term) return;
    if (message.type === "request-vote") {
      fact(hardState.votedFor === id, "PBR", () => `${id} asks for votes before its own is durable`);
    } else if (message.type === "request-vote-reply" && message.granted) {
      fact(hardState.votedFor === to, "PBR", () => `${id} grants ${to} a vote that is not durable`);
    } else if (message.type === "append-entries-reply" && message.outcome.accepted) {
      this.#checkAcknowledgement(view, this.#view(to), message.outcome.match, message.term);
    }
  }

  #checkAcknowledgement(view: NodeView, leader: NodeView, match: number, term: number): void {
    fact(
      match <= view.durable.length,
      "PBR",
      () =>
        `${view.id} acknowledges ${String(match)}; only ${String(view.durable.length)} entries are durable there`,
    );
    if (match === 0 || this.#leaders.get(term) !== leader.id || leader.leaderTerm !== term) return;
    fact(
      view.durable[match - 1]?.chain === leader.handed[match - 1]?.chain,
      "CQ",
      () => `${view.id} acknowledges ${String(match)} to ${leader.id}, whose log differs there`,
    );
  }

  // --- The state machine --------------------------------------------------------------------------

  /** A node's state machine was opened, and holds the state after this entry. */
  restored(id: NodeId, applied: number): void {
    this.#view(id).applied = applied;
  }

  /** A node's state machine applies a command. */
  applying(id: NodeId, at: LogPosition, command: string): void {
    const view = this.#view(id);
    fact(
      at.index > view.applied,
      "SMS",
      () => `${id} applies ${String(at.index)} after ${String(view.applied)}`,
    );
    for (let index = view.applied + 1; index < at.index; index++) {
      fact(
        view.durable[index - 1]?.isCommand !== true,
        "SMS",
        () => `${id} applies ${String(at.index)} and has left out the command at ${String(index)}`,
      );
    }
    view.applied = at.index;
    const known = this.#applied.get(at.index);
    fact(
      known === undefined || (known.term === at.term && known.command === command),
      "SMS",
      () =>
        `${id} applies ${command} of term ${String(at.term)} at ${String(at.index)}; ` +
        `${known?.command ?? ""} of term ${String(known?.term)} was applied there before`,
    );
    this.#applied.set(at.index, { term: at.term, command });
    const entry = view.durable[at.index - 1];
    fact(
      entry?.term === at.term,
      "ORD",
      () => `${id} applies ${String(at.index)}, which is not durable there`,
    );
  }

  /** A node's stream of committed commands gives this one after that at `before`. */
  delivered(id: NodeId, at: LogPosition, command: string, before: LogIndex): void {
    const view = this.#view(id);
    const known = this.#applied.get(at.index);
    fact(
      known?.term === at.term && known.command === command,
      "SMS",
      () =>
        `${id} tells of ${command} at ${String(at.index)}, where ${known?.command ?? "nothing"} was applied`,
    );
    for (let index = before + 1; index < at.index; index++) {
      fact(
        view.durable[index - 1]?.isCommand !== true,
        "SMS",
        () => `${id} tells of ${String(at.index)} and has left out the command at ${String(index)}`,
      );
    }
    fact(at.index > before, "SMS", () => `${id} tells of ${String(at.index)} after ${String(before)}`);
  }

  /** The last command in a node's log; 0: there is none. */
  lastCommand(id: NodeId): LogIndex {
    return this.#view(id).handed.findLastIndex(({ isCommand }) => isCommand) + 1;
  }

  /** The commands that were applied anywhere, by index. */
  get appliedCommands(): ReadonlyMap<number, { readonly term: number; readonly command: string }> {
    return this.#applied;
  }

  // --- After each step ----------------------------------------------------------------------------

  /** A process may have done something: look at what it says of itself. `now` is the time on its own clock. */
  step(id: NodeId, status: NodeStatus, now: number): void {
    const view = this.#view(id);
    const { commitIndex, appliedIndex, lastIndex, role, term, config } = status;
    fact(
      appliedIndex <= commitIndex && commitIndex <= lastIndex,
      "ORD",
      () =>
        `${id}: applied ${String(appliedIndex)}, commit ${String(commitIndex)}, last ${String(lastIndex)}`,
    );
    const purged = (status.firstIndex ?? 1) - 1;
    const covered = status.snapshots === undefined ? purged : (status.snapshots?.newest?.index ?? 0);
    fact(
      purged <= appliedIndex && purged <= covered,
      "ORD",
      () =>
        `${id} forgot ${String(purged)} entries; applied ${String(appliedIndex)}, snapshot ${String(covered)}`,
    );
    fact(
      commitIndex >= view.commit,
      "MONO",
      () => `the commit index of ${id} fell to ${String(commitIndex)}`,
    );
    this.#checkConfig(view, status);
    const { pendingEntriesMax, pendingBytesMax } = this.#terms;
    fact(
      status.pendingEntries <= pendingEntriesMax && status.pendingBytes <= pendingBytesMax,
      "BOUND",
      () =>
        `${id} has ${String(status.pendingEntries)} proposals of ${String(status.pendingBytes)} bytes under way`,
    );
    const { forwardedBytes = 0 } = status;
    fact(
      forwardedBytes >= 0 && forwardedBytes <= pendingBytesMax,
      "BOUND",
      () => `${id} has passed on ${String(forwardedBytes)} bytes`,
    );
    const led = role === "leader" && view.leaderTerm === term;
    if (role !== "leader") view.aloneSince = null;
    else if (!led) this.#newLeader(view, term, config, now);
    else this.#checkLeader(view, status, now);
    this.#checkStall(view, role === "leader" && !isAlone(config, id), now);
    if (commitIndex <= view.commit) return;
    if (led) {
      const entry = view.handed[commitIndex - 1];
      fact(
        entry === undefined || entry.term === term,
        "CQ",
        () =>
          `${id}, leader of term ${String(term)}, commits up to ${String(commitIndex)}, an entry of an earlier term`,
      );
    }
    this.#newCommit(view, commitIndex, term, settledTo(status));
  }

  /** CFG: what is in force is what the last configuration entry of the log says, committed or not (§6). */
  #checkConfig(view: NodeView, status: NodeStatus): void {
    const { role, lastIndex, commitIndex, config } = status;
    const { id, handed } = view;
    // Entries of this very turn are given to the store at its end.
    const isGiven = lastIndex === handed.length && lastIndex <= settledTo(status);
    const inForce = isGiven ? (handed.at(-1)?.inForce ?? null) : null;
    fact(
      inForce === null || sameConfig(inForce.membership.config, config),
      "CFG",
      () => `${id} acts on ${showConfig(config)}; its log says ${showConfig(inForce?.membership.config)}`,
    );
    if (role !== "candidate" && role !== "pre-candidate") return;
    // A leader that was to leave, and crashed over it, may have to win once more to see it done.
    const last = handed.at(-1)?.inForce ?? null;
    const mayCampaign =
      hasVote(config, id) ||
      (last !== null && last.index > commitIndex && hasVote(last.before?.membership.config, id));
    fact(mayCampaign, "ES", () => `${id} campaigns and is no voter of ${showConfig(config)}`);
  }

  /** The process went on after a pause, or its timers come late: it could not know that it was alone. */
  excuse(id: NodeId): void {
    this.#view(id).aloneSince = null;
    this.#view(id).oldest = null;
  }

  #checkLeader(view: NodeView, { members, config, term }: NodeStatus, now: number): void {
    for (const { id, match } of members) {
      if (match === null || id === view.id) continue;
      fact(
        match >= (view.matches.get(id) ?? 0),
        "MONO",
        () =>
          `${view.id}, leader of term ${String(term)}, takes back what it knew of ${id}, to ${String(match)}`,
      );
      view.matches.set(id, match);
    }
    const hears = (id: NodeId): boolean =>
      members.some((member) => member.id === id && member.active === true);
    if (isQuorum(config, hears)) view.aloneSince = null;
    else view.aloneSince ??= now;
    fact(
      view.aloneSince === null || now - view.aloneSince <= this.#terms.aloneMsMax,
      "STABLE",
      () => `${view.id} goes on leading term ${String(term)} and hears no majority`,
    );
  }

  #checkStall(view: NodeView, leads: boolean, now: number): void {
    const write = view.pending.find(({ records }) => records.length > 0);
    if (write === undefined || !leads) view.oldest = null;
    else if (view.oldest?.write !== write) view.oldest = { write, since: now };
    const stalledMs = now - (view.oldest?.since ?? now);
    fact(
      stalledMs <= this.#terms.stalledMsMax,
      "STABLE",
      () =>
        `${view.id} goes on leading, and its disk has not answered for ${String(Math.round(stalledMs))} ms`,
    );
  }

  #newLeader(view: NodeView, term: number, config: ClusterConfig, now: number): void {
    const before = this.#leaders.get(term) ?? view.id;
    fact(before === view.id, "ES", () => `term ${String(term)} has two leaders, ${before} and ${view.id}`);
    fact(
      view.hardState.term === term,
      "PBR",
      () => `${view.id} leads term ${String(term)}, and on its disk is ${show(view.hardState)}`,
    );
    // Two leaders of a term are rare; one that was elected by votes that nobody gave is not.
    fact(
      isQuorum(config, (id) => this.#votes.get(`${id}@${String(term)}`) === view.id),
      "ES",
      () => `${view.id} leads term ${String(term)} without the durable votes of a majority`,
    );
    this.#leaders.set(term, view.id);
    view.leaderTerm = term;
    view.matches.clear();
    view.aloneSince = null;
    const last = this.#lastLeader;
    fact(
      last === null || now - last.since <= this.#terms.settledMs,
      "STABLE",
      () =>
        `${view.id} deposed ${String(last?.id)}, leader of term ${String(last?.term)}, though nothing was wrong`,
    );
    this.#lastLeader = { id: view.id, term, since: now };
    for (const [at, { chain, seenInTerm }] of this.#committed.entries()) {
      if (seenInTerm >= term) continue;
      fact(
        view.handed[at]?.chain === chain,
        "LC",
        () => `${view.id}, leader of term ${String(term)}, lacks the committed entry ${String(at + 1)}`,
      );
    }
  }

  /**
   * What was committed was counted by the configuration that was in force then. Up to the last one that is committed
   * now, that is this one: none follows before it is committed. After it, it may also be the next.
   */
  #newCommit(view: NodeView, commit: number, term: number, settledTo: number): void {
    const known = view.handed[commit - 1]?.inForce ?? null;
    const next = view.handed.at(-1)?.inForce ?? null;
    const isDurable = (config: ClusterConfig | undefined, at: number, chain: number): boolean =>
      config !== undefined &&
      isQuorum(config, (id) => {
        const { durable, lost } = this.#view(id);
        return durable[at]?.chain === chain || lost[at]?.chain === chain;
      });
    for (let at = view.commit; at < commit; at++) {
      const entry = view.handed[at];
      // Entries of this very turn are given to the store at its end; they are looked at then.
      if (entry === undefined) return;
      const before = this.#committed[at];
      const { chain } = entry;
      const byNext = (): boolean =>
        known !== null && at >= known.index && isDurable(next?.membership.config, at, chain);
      const holds =
        before === undefined
          ? byNext() || isDurable(known?.membership.config, at, chain)
          : before.chain === chain;
      // It may have been replaced in the very turn in which the node stopped, and the store never heard of it.
      if (!holds && at >= settledTo) return;
      if (before === undefined) {
        fact(
          holds,
          "CQ",
          () =>
            `${view.id} commits ${String(at + 1)} without a majority of ${showConfig(known?.membership.config)} ` +
            "that has it on disk",
        );
        this.#committed.push({ ...entry, seenInTerm: term });
      } else {
        fact(
          holds,
          "SMS",
          () => `${view.id} commits another entry ${String(at + 1)} than was committed before`,
        );
      }
      view.commit = at + 1;
    }
  }
}

/** Up to here the store was given what the node goes by; one that stopped may have left its last turn at that. */
function settledTo({ role, durableIndex = Infinity }: NodeStatus): number {
  return role === "stopped" ? durableIndex : Infinity;
}

function show({ term, votedFor }: HardState): string {
  return `term ${String(term)}, vote for ${votedFor ?? "nobody"}`;
}
