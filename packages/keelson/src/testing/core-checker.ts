import { hasQuorum, type NodeId } from "../core/index.ts";
import type { CoreHost, TestEntry } from "./core-cluster.ts";

/**
 * Watches a group of nodes from outside and throws when an invariant breaks. It keeps the whole
 * history, so it sees also what no two nodes ever hold at the same time. To be run after each step.
 */
export class CoreChecker {
  readonly #leaders = new Map<number, NodeId>();
  readonly #votes = new Map<string, NodeId>();
  readonly #terms = new Map<NodeId, number>();
  readonly #entries = new Map<string, string>();
  /** By index: what was committed, and in which term that was first seen. */
  readonly #committed: { entry: TestEntry; seenInTerm: number }[] = [];
  readonly #commits = new Map<NodeId, { node: object; commit: number; term: number; match: Map<NodeId, number> }>();

  check(hosts: readonly CoreHost[]): void {
    for (const host of hosts) {
      this.#checkVote(host);
      this.#checkLog(host.stored);
      if (!host.isUp) continue;
      this.#checkLog(host.memory);
      this.#checkMonotony(host);
      this.#checkCommitted(host, hosts);
      this.#checkLeader(host);
      this.#checkApplied(host);
      this.#checkOrder(host);
    }
  }

  /** ES: a durable vote in a term never changes, and the durable term never falls. */
  #checkVote({ id, hardState }: CoreHost): void {
    const { term, votedFor } = hardState;
    fact((this.#terms.get(id) ?? 0) <= term, `MONO: the durable term of ${id} fell to ${String(term)}`);
    this.#terms.set(id, term);
    if (votedFor === null) return;
    const key = `${id}@${String(term)}`;
    const before = this.#votes.get(key) ?? votedFor;
    fact(before === votedFor, `ES: ${id} voted for ${before} and for ${votedFor} in term ${String(term)}`);
    this.#votes.set(key, votedFor);
  }

  /** LM: one position holds one payload, after one and the same predecessor, in every log there ever was. */
  #checkLog(entries: readonly TestEntry[]): void {
    let before = "0@0";
    for (const { index, term, payload } of entries) {
      const key = `${String(index)}@${String(term)}`;
      const content = `${before} ${payload}`;
      const known = this.#entries.get(key);
      fact(known === undefined || known === content, `LM: two entries ${key}: "${known ?? ""}" and "${content}"`);
      if (known === undefined) this.#entries.set(key, content);
      before = key;
    }
  }

  /** MONO: within an incarnation commit never falls; while one leader leads, match never falls. */
  #checkMonotony(host: CoreHost): void {
    const { node } = host;
    const before = this.#commits.get(host.id);
    const same = before?.node === node ? before : undefined;
    fact((same?.commit ?? 0) <= node.commitIndex, `MONO: the commit index of ${host.id} fell`);
    const match = new Map<NodeId, number>();
    for (const { id } of node.role === "leader" ? [...this.#commits.keys()].map((id) => ({ id })) : []) {
      const now = node.progress(id)?.match;
      if (now === undefined) continue;
      if (same?.term === node.term) fact((same.match.get(id) ?? 0) <= now, `MONO: match of ${id} fell`);
      match.set(id, now);
    }
    this.#commits.set(host.id, { node, commit: node.commitIndex, term: node.term, match });
  }

  /** CQ, LC: what a leader commits is durable on a majority, and stays for ever. */
  #checkCommitted(host: CoreHost, hosts: readonly CoreHost[]): void {
    const { node } = host;
    for (let index = 1; index <= node.commitIndex; index++) {
      const entry = host.memory[index - 1];
      fact(entry !== undefined, `ORD: ${host.id} committed ${String(index)} and does not have it`);
      const known = this.#committed[index - 1];
      if (known !== undefined) {
        fact(
          known.entry.term === entry.term && known.entry.payload === entry.payload,
          `SMS: ${String(index)} was committed as ${describe(known.entry)} and as ${describe(entry)}`,
        );
        continue;
      }
      const { config } = node.log.configAt(node.log.last.index);
      const durable = hasQuorum(config, (id) =>
        hosts.some((other) => other.id === id && other.stored[index - 1]?.term === entry.term),
      );
      fact(durable, `CQ: ${describe(entry)} is committed by ${host.id} without a durable majority`);
      this.#committed.push({ entry, seenInTerm: node.term });
    }
  }

  /** ES, LC: one leader a term, and it has every entry that was committed before its term. */
  #checkLeader({ id, node, memory }: CoreHost): void {
    if (node.role !== "leader") return;
    const before = this.#leaders.get(node.term) ?? id;
    fact(before === id, `ES: term ${String(node.term)} has two leaders, ${before} and ${id}`);
    this.#leaders.set(node.term, id);
    for (const [at, { entry, seenInTerm }] of this.#committed.entries()) {
      if (seenInTerm >= node.term) continue;
      fact(memory[at]?.term === entry.term, `LC: leader ${id} of term ${String(node.term)} lacks ${describe(entry)}`);
    }
  }

  /** SMS: every node applies what was committed, in order. */
  #checkApplied({ id, applied }: CoreHost): void {
    const last = applied.at(-1);
    if (last === undefined) return;
    const known = this.#committed[last.index - 1]?.entry;
    fact(last.index === applied.length, `SMS: ${id} skipped an entry`);
    fact(known?.payload === last.payload, `SMS: ${id} applied ${describe(last)}, which is not what was committed`);
  }

  /** ORD: commit and durable lie within the log. */
  #checkOrder({ id, node, stored, memory, applied }: CoreHost): void {
    fact(node.commitIndex <= node.log.last.index, `ORD: ${id} committed past its log`);
    fact(applied.length <= stored.length, `ORD: ${id} applied what it has not stored`);
    fact(node.durableIndex <= stored.length, `PBR: ${id} believes durable what is not stored`);
    fact(memory.length === node.log.last.index, `the driver of ${id} lost an entry`);
    for (let index = 1; index <= node.durableIndex; index++) {
      fact(stored[index - 1]?.term === node.log.termAt(index), `PBR: ${id} believes another entry durable`);
    }
  }
}

function describe({ index, term, payload }: TestEntry): string {
  return `${String(index)}@${String(term)}="${payload}"`;
}

/** A fact about the whole group that does not hold. */
export class InvariantBroken extends Error {
  override readonly name = "InvariantBroken";
}

function fact(holds: boolean, text: string): asserts holds {
  if (!holds) throw new InvariantBroken(text);
}
