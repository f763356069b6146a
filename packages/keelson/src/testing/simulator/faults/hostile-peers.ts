/** Starts and ends peers that lie: strangers, and members that were removed. */
import { isVoter, membersOf } from "../../../core/config.ts";
import type { NodeId } from "../../../core/position.ts";
import type { Environment, Network } from "../../../environment/environment.ts";
import type { SimulatedClock } from "../../../environment/simulated/simulated-clock.ts";
import { SimulatedFiles } from "../../../environment/simulated/simulated-files.ts";
import type { Transport } from "../../../transport/transport.ts";
import type { SimOperator } from "../clients/sim-operator.ts";
import type { Chance } from "../plan/chance.ts";
import type { Fault } from "../plan/faults.ts";
import { HostilePeer, type Victim } from "../world/hostile-peer.ts";
import type { SimProcess } from "../world/sim-process.ts";

export interface HostilePeersParts {
  readonly clock: SimulatedClock;
  readonly chance: Chance;
  readonly processes: readonly SimProcess[];
  readonly operator: SimOperator;
  readonly trace: (text: string) => void;
  readonly report: (error: unknown) => void;
  readonly network: (host: string) => Network;
  readonly transport: (address: string) => Transport;
}

/** How a stranger names itself. */
const STRANGER = { id: "stranger", storeId: "a store of its own" };

/** See the file's header. */
export class HostilePeers {
  readonly #parts: HostilePeersParts;
  readonly #peers = new Set<HostilePeer>();
  /** How many were started. */
  #count = 0;

  constructor(parts: HostilePeersParts) {
    this.#parts = parts;
  }

  /**
   * Starts a peer. The returned function ends it. Starts none if no running node has a cluster yet, or if it
   * should pose as a removed member and there is none.
   */
  begin({ as, everyMs }: Extract<Fault, { type: "hostile-peer" }>): () => void {
    const { clock, chance, processes, operator, network, transport, trace, report } = this.#parts;
    const clusterId = processes
      .map(({ raft }) => raft?.metrics().clusterId)
      .find((id) => typeof id === "string");
    const name = as === "stranger" ? STRANGER : operator.removedMember();
    if (clusterId === undefined || name === null) return () => undefined;
    this.#count += 1;
    const host = `hostile${String(this.#count)}`;
    const environment: Environment = {
      now: () => clock.now(),
      wallClock: () => clock.elapsedMs,
      random: chance.random,
      randomBytes: (count) => Uint8Array.from({ length: count }, () => Math.floor(chance.random() * 256)),
      setTimer: (delayMs, callback) => clock.setTimer(delayMs, callback),
      defer: (callback) => {
        clock.defer(callback);
      },
      files: new SimulatedFiles(),
      network: network(host),
    };
    const peer = new HostilePeer({
      ...{ ...name, clusterId, environment, chance, everyMs },
      transport: transport(`${host}:7000`),
      victims: () => this.#victims(name.id),
    });
    trace(`${host} begins to lie as ${name.id}`);
    this.#peers.add(peer);
    peer.start().catch(report);
    return () => {
      this.#end(peer);
    };
  }

  endAll(): void {
    for (const peer of this.#peers) this.#end(peer);
  }

  #end(peer: HostilePeer): void {
    if (this.#peers.delete(peer)) peer.close().catch(this.#parts.report);
  }

  /**
   * The nodes of the cluster that can know that the peer isn't a member. A node can't before its own log says
   * so. One that is being added can't before it knows that this was committed. A leader that still has to
   * tell a removed member of its removal takes that member's messages, because it waits for the answer.
   */
  #victims(peerId: NodeId): Victim[] {
    const { processes, operator } = this.#parts;
    return processes.flatMap((process) => {
      const { id, address, core } = process;
      if (core === null || membersOf(core.config).length === 0 || id === peerId) return [];
      const isKnown = peerId === STRANGER.id || operator.knowsRemovalOf(process, peerId);
      if (!isKnown || core.removedMembersToNotify.includes(peerId)) return [];
      const { term, commitIndex, log } = core;
      const isMember = membersOf(log.configAt(commitIndex).config).includes(id);
      if (!isMember && !isVoter(core.config, id)) return [];
      return [{ id, address, term, commitIndex, lastIndex: log.last.index }];
    });
  }
}
