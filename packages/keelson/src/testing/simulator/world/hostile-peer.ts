/**
 * A program that follows the handshake of nodes and then lies. It knows the cluster's id, as a former member
 * or an operator does, but it isn't a member. Whatever it sends must change nothing (Z17).
 */
import { encodeRecord, EntryKind } from "../../../codec/record.ts";
import type { RuntimeMessage } from "../../../codec/frame-runtime-message.ts";
import type { Message } from "../../../core/message.ts";
import { INDEX_MAX, ROUND_MAX, TERM_JUMP_MAX, TERM_MAX, type NodeId } from "../../../core/position.ts";
import type { Environment, Timer } from "../../../environment/environment.ts";
import type { Transport, TransportHost, TransportMessage } from "../../../transport/transport.ts";
import type { Chance } from "../plan/chance.ts";

/** A node that is lied to, as it is at the moment. */
export interface Victim {
  readonly id: NodeId;
  readonly address: string;
  readonly term: number;
  readonly commitIndex: number;
  readonly lastIndex: number;
}

export interface HostilePeerParts {
  /** How it names itself. */
  readonly id: NodeId;
  readonly storeId: string;
  readonly clusterId: string;
  readonly transport: Transport;
  readonly environment: Environment;
  readonly chance: Chance;
  /** The mean time between two messages, in milliseconds. */
  readonly everyMs: number;
  /**
   * The nodes to lie to. They belong to the cluster: a node that belongs to none yet can't tell a member of
   * one from a stranger.
   */
  readonly victims: () => readonly Victim[];
}

/** See the file's header. */
export class HostilePeer {
  readonly #parts: HostilePeerParts;
  #timer: Timer | null = null;

  constructor(parts: HostilePeerParts) {
    this.#parts = parts;
  }

  async start(): Promise<void> {
    await this.#parts.transport.start(this.#host());
    this.#next();
  }

  close(): Promise<void> {
    this.#timer?.cancel();
    return this.#parts.transport.close();
  }

  #next(): void {
    const { environment, chance, everyMs, transport } = this.#parts;
    this.#timer = environment.setTimer(chance.time(everyMs), () => {
      const victims = this.#parts.victims();
      transport.setPeers(new Map(victims.map(({ id, address }) => [id, [address]])));
      for (const victim of victims) transport.send(victim.id, this.#lie(victim));
      this.#next();
    });
  }

  /**
   * A host that says in a handshake what a member may say, but knows no secret that only a member can know.
   */
  #host(): TransportHost {
    const { id, storeId, clusterId, environment } = this.#parts;
    return {
      environment,
      self: { id, storeId, info: "", priority: 0 },
      clusterId: () => clusterId,
      adoptClusterId: () => Promise.reject(new Error("a hostile peer joins no cluster")),
      refusalOf: () => null,
      storeIdOf: () => "a guess",
      onPeer: () => undefined,
      receive: () => undefined,
      log: () => undefined,
    };
  }

  #lie(victim: Victim): TransportMessage {
    const { chance } = this.#parts;
    if (chance.happens(0.2)) return { message: this.#runtimeLie(victim), records: [] };
    return chance.happens(0.3) ? this.#entries(victim) : { message: this.#coreLie(victim), records: [] };
  }

  #term({ term }: Victim): number {
    return this.#parts.chance.pick([0, term, term, term + 1, term + 1, term + TERM_JUMP_MAX, TERM_MAX]);
  }

  #index({ commitIndex, lastIndex }: Victim): number {
    return this.#parts.chance.pick([0, commitIndex, lastIndex, lastIndex + 1, INDEX_MAX]);
  }

  #coreLie(victim: Victim): Message {
    const { id: from, chance } = this.#parts;
    const term = this.#term(victim);
    const index = this.#index(victim);
    const round = chance.pick([0, 1, 7, ROUND_MAX]);
    const last = { term: chance.pick([0, term]), index };
    const isYes = chance.happens(0.5);
    return chance.pick<Message>([
      { type: "pre-vote", from, term, round, last },
      { type: "pre-vote-reply", from, term, round, granted: isYes },
      { type: "request-vote", from, term, last, transfer: isYes },
      { type: "request-vote-reply", from, term, granted: isYes },
      { type: "append-entries-reply", from, term, round, outcome: { accepted: true, match: index } },
      {
        ...{ type: "append-entries-reply", from, term, round },
        outcome: { accepted: false, refused: index, hint: last },
      },
      {
        ...{ type: "install-snapshot", from, term, round, last: { term, index: index + 1 } },
        config: { voters: [from], outgoingVoters: [], learners: [victim.id] },
      },
      { type: "read-index", from, term, id: round },
      { type: "read-index-reply", from, term, id: round, index },
      { type: "timeout-now", from, term },
    ]);
  }

  /**
   * An append-entries message, as if this peer led: with an entry after the victim's last, or in place of it,
   * or a heartbeat that commits everything.
   */
  #entries(victim: Victim): TransportMessage {
    const { id: from, chance } = this.#parts;
    const term = this.#term(victim) + 1;
    const prev = { term: chance.pick([term, victim.term]), index: chance.pick([0, victim.lastIndex]) };
    const index = prev.index + 1;
    const isHeartbeat = chance.happens(0.3);
    const entries = isHeartbeat
      ? { prev, lastIndex: prev.index, terms: [], configs: [] }
      : { prev, lastIndex: index, terms: [{ index, term }], configs: [] };
    const record = encodeRecord(index, term, EntryKind.command, new Uint8Array(8));
    return {
      message: { type: "append-entries", from, term, entries, commit: index, round: 1 },
      records: isHeartbeat ? [] : [record],
    };
  }

  #runtimeLie(victim: Victim): RuntimeMessage {
    const { id: from, chance } = this.#parts;
    const index = this.#index(victim);
    const payload = new Uint8Array(10);
    return chance.pick<RuntimeMessage>([
      { type: "snapshot-request", from, id: null, index: 0, offset: 0, bytes: 1_000_000 },
      { type: "snapshot-chunk", from, id: "lie", size: 10, offset: 0, payload },
      { type: "snapshot-gone", from, id: null },
      { type: "snapshot-end", from, id: "lie", intact: false },
      { type: "entries-lost", from, term: victim.term, acknowledged: { term: victim.term, index } },
    ]);
  }
}
