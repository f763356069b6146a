import { isJoint, type ClusterConfig, type Message, type NodeId, type RaftNode } from "../../core/index.ts";
import type { CoreHost, MessageInTransit, TestEntry } from "./core-host.ts";

/**
 * How far a host was checked already, so that checking a step costs what the step changed, and not the whole
 * log.
 */
interface SeenHost {
  node: RaftNode | null;
  stored: readonly TestEntry[];
  memory: readonly TestEntry[];
  term: number;
  commit: number;
  /**
   * Up to this index, the check has found that the stored entries are those that the node takes as durable.
   */
  durable: number;
  applied: number;
  /** How many committed entries this node, as the leader of `ledTerm`, was found to have. */
  led: number;
  ledTerm: number;
  match: Map<NodeId, number>;
}

/**
 * Checks a group of nodes from outside, and throws when an invariant is violated. Run it after each step. It
 * keeps the whole history, so it also finds contradictions between states that no two nodes had at the same
 * time. The codes in its messages (PBR, ES and so on) are those of docs/design/pitfalls.md.
 */
export class CoreChecker {
  readonly #leaders = new Map<number, NodeId>();
  readonly #votes = new Map<string, NodeId>();
  readonly #terms = new Map<NodeId, number>();
  readonly #entries = new Map<string, string>();
  readonly #seenHosts = new Map<NodeId, SeenHost>();
  /** By index: the committed entry, and the term in which its commitment was first seen. */
  readonly #committed: { readonly entry: TestEntry; readonly seenInTerm: number }[] = [];

  /** What was ever committed, in order. */
  get committed(): readonly TestEntry[] {
    return this.#committed.map(({ entry }) => entry);
  }

  /** How many entries were ever committed: a read that begins now must see them all. */
  get committedCount(): number {
    return this.#committed.length;
  }

  check(hosts: readonly CoreHost[]): void {
    for (const host of hosts) {
      const watched = this.#seen(host);
      this.#checkVote(host);
      const storedFrom = this.#checkLog(watched.stored, host.stored);
      watched.stored = host.stored;
      watched.durable = Math.min(watched.durable, storedFrom);
      if (!host.isUp) continue;
      if (watched.node !== host.node) this.#beginIncarnation(watched, host);
      const memoryFrom = this.#checkLog(watched.memory, host.memory);
      // The host appends to `memory` in place, so keep a copy to compare with next time.
      watched.memory = [...host.memory];
      this.#checkCommitted(watched, host, hosts, memoryFrom);
      this.#checkMatches(watched, host, hosts);
      this.#checkLeader(watched, host, memoryFrom);
      this.#checkApplied(watched, host);
      this.#checkDurable(watched, host, memoryFrom);
    }
  }

  /**
   * Persist before reply (PBR): whatever a message claims is on its sender's disk when the message leaves.
   */
  checkMessage({ message, to }: MessageInTransit, sender: CoreHost, hosts: readonly CoreHost[]): void {
    const { id, hardState } = sender;
    assertInvariant(
      message.term <= hardState.term,
      `PBR: ${id} sent term ${message.term} before it was durable`,
    );
    if (message.type === "request-vote") this.#checkVoteIsDurable(sender, message, id);
    if (message.type === "request-vote-reply" && message.granted)
      this.#checkVoteIsDurable(sender, message, to);
    if (message.type !== "append-entries-reply" || !message.outcome.accepted) return;
    const { match } = message.outcome;
    assertInvariant(match <= sender.stored.length, `PBR: ${id} acknowledged ${match} before it was durable`);
    const leader = hosts.find((host) => host.id === to);
    if (leader?.isUp !== true || leader.node.role !== "leader" || leader.node.term !== message.term) return;
    assertInvariant(
      match === 0 || leader.memory[match - 1]?.term === sender.stored[match - 1]?.term,
      `PBR: ${id} acknowledged to ${to} another entry at ${match}`,
    );
  }

  #checkVoteIsDurable({ id, hardState }: CoreHost, { term }: Message, candidate: NodeId): void {
    const vote = hardState.term === term ? hardState.votedFor : this.#votes.get(`${id}@${term}`);
    assertInvariant(
      vote === candidate,
      `PBR: ${id} promised ${candidate} its vote of term ${term} before it was durable`,
    );
  }

  #seen({ id }: CoreHost): SeenHost {
    let watched = this.#seenHosts.get(id);
    if (watched === undefined) {
      const nothing = { commit: 0, durable: 0, applied: 0, led: 0, ledTerm: 0, term: 0 };
      watched = { ...nothing, node: null, stored: [], memory: [], match: new Map() };
      this.#seenHosts.set(id, watched);
    }
    return watched;
  }

  #beginIncarnation(watched: SeenHost, { node }: CoreHost): void {
    Object.assign(watched, {
      node,
      memory: [],
      commit: 0,
      durable: 0,
      applied: 0,
      led: 0,
      ledTerm: 0,
      term: 0,
    });
    watched.match.clear();
  }

  /** ES: a durable vote in a term never changes, and the durable term never falls. */
  #checkVote({ id, hardState }: CoreHost): void {
    const { term, votedFor } = hardState;
    assertInvariant((this.#terms.get(id) ?? 0) <= term, `MONO: the durable term of ${id} fell to ${term}`);
    this.#terms.set(id, term);
    if (votedFor === null) return;
    const key = `${id}@${term}`;
    const before = this.#votes.get(key) ?? votedFor;
    assertInvariant(before === votedFor, `ES: ${id} voted for ${before} and for ${votedFor} in term ${term}`);
    this.#votes.set(key, votedFor);
  }

  /**
   * LM: one position holds one payload, after one and the same predecessor, in every log there ever
   * was. Returns how many entries are the same as when this log was last seen: logs change at their ends.
   */
  #checkLog(before: readonly TestEntry[], entries: readonly TestEntry[]): number {
    let same = Math.min(before.length, entries.length);
    if (before !== entries) while (same > 0 && before[same - 1] !== entries[same - 1]) same -= 1;
    let predecessor = same === 0 ? "0@0" : keyOf(entries[same - 1]);
    for (const entry of entries.slice(same)) {
      const key = keyOf(entry);
      const content = `${predecessor} ${entry.payload}`;
      const known = this.#entries.get(key);
      assertInvariant(
        known === undefined || known === content,
        `LM: two entries ${key}: "${known ?? ""}" and "${content}"`,
      );
      if (known === undefined) this.#entries.set(key, content);
      predecessor = key;
    }
    return same;
  }

  /**
   * CQ, SMS, MONO: what is committed is durable on a majority and never changes; the commit index never
   * falls.
   */
  #checkCommitted(watched: SeenHost, host: CoreHost, hosts: readonly CoreHost[], unchanged: number): void {
    const { node, memory } = host;
    assertInvariant(watched.commit <= node.commitIndex, `MONO: the commit index of ${host.id} fell`);
    // In the step in which both majorities commit C_old,new, the leader leaves it. So in that step, count by
    // C_old,new, which was in force until then.
    const latest = node.log.configAt(node.commitIndex);
    const justLeft = isJoint(latest.config) && latest.index > watched.commit;
    const config = justLeft ? latest.config : node.config;
    for (let index = Math.min(watched.commit, unchanged) + 1; index <= node.commitIndex; index++) {
      const entry = memory[index - 1];
      assertInvariant(entry !== undefined, `ORD: ${host.id} committed ${index} and does not have it`);
      const known = this.#committed[index - 1]?.entry;
      if (known === undefined) {
        this.#checkQuorum(host, hosts, entry, config);
        this.#committed.push({ entry, seenInTerm: node.term });
        continue;
      }
      assertInvariant(
        known.term === entry.term && known.payload === entry.payload,
        `SMS: ${index} was committed as ${describe(known)} and as ${describe(entry)}`,
      );
    }
    watched.commit = node.commitIndex;
  }

  #checkQuorum({ id }: CoreHost, hosts: readonly CoreHost[], entry: TestEntry, config: ClusterConfig): void {
    const holds = (member: NodeId): boolean =>
      hosts.some((host) => host.id === member && host.stored[entry.index - 1]?.term === entry.term);
    // Count here, not with the core's own functions: they are what is being checked.
    const durable = [config.voters, config.outgoingVoters].every(
      (part) => part.length === 0 || part.filter(holds).length * 2 > part.length,
    );
    assertInvariant(durable, `CQ: ${describe(entry)} is committed by ${id} without a durable majority`);
  }

  /** MONO: while one leader leads, `match` never falls. */
  #checkMatches(watched: SeenHost, { node }: CoreHost, hosts: readonly CoreHost[]): void {
    if (node.role !== "leader" || watched.term !== node.term) watched.match.clear();
    watched.term = node.term;
    if (node.role !== "leader") return;
    for (const { id } of hosts) {
      const progress = node.progress(id);
      if (progress === undefined) continue;
      assertInvariant((watched.match.get(id) ?? 0) <= progress.match, `MONO: match of ${id} fell`);
      assertInvariant(progress.match < progress.next, `the next entry for ${id} is one that it has`);
      watched.match.set(id, progress.match);
    }
  }

  /** ES, LC: one leader a term, and it has every entry that was committed before its term. */
  #checkLeader(watched: SeenHost, { id, node, memory }: CoreHost, unchanged: number): void {
    if (node.role !== "leader") return;
    const before = this.#leaders.get(node.term) ?? id;
    assertInvariant(before === id, `ES: term ${node.term} has two leaders, ${before} and ${id}`);
    this.#leaders.set(node.term, id);
    const from = watched.ledTerm === node.term ? Math.min(watched.led, unchanged) : 0;
    for (let at = from; at < this.#committed.length; at++) {
      const committed = this.#committed[at];
      if (committed === undefined || committed.seenInTerm >= node.term) continue;
      const { entry } = committed;
      assertInvariant(
        memory[at]?.term === entry.term,
        `LC: leader ${id} of term ${node.term} lacks ${describe(entry)}`,
      );
    }
    watched.led = this.#committed.length;
    watched.ledTerm = node.term;
  }

  /** SMS: every node applies what was committed, in order, and nothing that is not on its disk. */
  #checkApplied(watched: SeenHost, { id, applied, stored }: CoreHost): void {
    assertInvariant(applied.length <= stored.length, `ORD: ${id} applied what it has not stored`);
    for (let at = watched.applied; at < applied.length; at++) {
      const entry = applied[at];
      const known = this.#committed[at]?.entry;
      assertInvariant(
        entry !== undefined && known?.payload === entry.payload && known.term === entry.term,
        `SMS: ${id} applied at ${at + 1} what was not committed there`,
      );
    }
    watched.applied = applied.length;
  }

  /** ORD, PBR: what a node believes durable is what its disk holds. */
  #checkDurable(
    watched: SeenHost,
    { id, node, stored, memory, isInstalling }: CoreHost,
    unchanged: number,
  ): void {
    assertInvariant(node.commitIndex <= node.log.last.index, `ORD: ${id} committed past its log`);
    assertInvariant(node.log.base.index <= node.commitIndex, `ORD: ${id} forgot what is not committed`);
    assertInvariant(node.log.base.index <= node.durableIndex, `ORD: ${id} forgot what is not durable`);
    assertInvariant(memory.length === node.log.last.index, `the driver of ${id} lost an entry`);
    // The store holds a new snapshot already, and the core hasn't been told of it. Until then the two differ.
    if (isInstalling) return;
    assertInvariant(node.durableIndex <= stored.length, `PBR: ${id} believes durable what is not stored`);
    for (let at = Math.min(watched.durable, unchanged); at < node.durableIndex; at++) {
      assertInvariant(
        stored[at]?.term === memory[at]?.term,
        `PBR: ${id} believes another entry durable at ${at + 1}`,
      );
      const term = node.log.termAt(at + 1);
      assertInvariant(
        term === undefined || term === memory[at]?.term,
        `the driver and the core of ${id} disagree`,
      );
    }
    watched.durable = node.durableIndex;
  }
}

function keyOf(entry: TestEntry | undefined): string {
  return entry === undefined ? "0@0" : `${entry.index}@${entry.term}`;
}

function describe({ index, term, payload }: TestEntry): string {
  return `${index}@${term}="${payload}"`;
}

/** An invariant of the whole group does not hold. */
export class InvariantBroken extends Error {
  override readonly name = "InvariantBroken";
}

function assertInvariant(holds: boolean, text: string): asserts holds {
  if (!holds) throw new InvariantBroken(text);
}
