import type { ComponentLog } from "../../log-event.ts";
import { saysRemoved } from "../../transport/handshake.ts";
import type { TransportHost, TransportMessage } from "../../transport/transport.ts";
import type { Driver } from "../loop/index.ts";
import type { KnownPeers, LostEntries, MemberDirectory, RemovalWatch } from "../members/index.ts";
import type { ClusterBootstrap } from "./cluster-bootstrap.ts";
import { refusalOfCreation, type ClusterFormation } from "./cluster-formation.ts";
import type { NodeDiagnostics } from "./node-diagnostics.ts";
import type { GroupParts, ProcessParts } from "./node-parts.ts";
import type { NodeStatus } from "./node-status.ts";

export interface TransportHostParts {
  readonly diagnostics: NodeDiagnostics;
  readonly status: NodeStatus;
  readonly bootstrap: ClusterBootstrap;
  /** null: the node has no option `members`. */
  readonly formation: ClusterFormation | null;
  readonly directory: MemberDirectory;
  readonly peers: KnownPeers;
  readonly lostEntries: LostEntries;
  readonly removal: RemovalWatch;
  readonly driver: Driver;
  /** Tells the transport the nodes that this one may have to talk to. */
  readonly updatePeers: () => void;
  readonly log: ComponentLog;
}

/**
 * Makes the node's side of the transport: it answers what the transport asks about this node and its peers,
 * and takes the peers and messages that the transport reports.
 */
export function transportHostOf(
  { environment }: ProcessParts,
  { settings, stored, core }: Pick<GroupParts<unknown, unknown>, "settings" | "stored" | "core">,
  { formation, status, bootstrap, diagnostics, directory, peers, ...parts }: TransportHostParts,
): TransportHost {
  const { lostEntries, removal, driver, updatePeers, log } = parts;
  const { id, info, priority } = settings;
  return {
    environment,
    self: { id, storeId: stored.storeId, info, priority },
    clusterId: () => bootstrap.clusterId,
    adoptClusterId: (clusterId) => bootstrap.adopt(clusterId),
    refusalOf: (peer, isVouchedFor) => directory.refusalOf(peer, isVouchedFor),
    refusalOfCreation: (clusterId) => refusalOfCreation(clusterId, core, formation?.plannedClusterId ?? null),
    storeIdOf: (peerId) => directory.storeIdOf(peerId),
    onPeer: (peer) => {
      peers.onHandshake(peer);
      // The peer may have stated an address that isn't the one in this node's log.
      if (status.takesCalls) updatePeers();
      lostEntries.tell(peer.id);
    },
    onRefused: (peer, reason) => {
      if (status.takesCalls && saysRemoved(reason, id)) removal.told(peer);
    },
    receive: (transportMessage: TransportMessage) => {
      diagnostics.received(transportMessage);
      if (lostEntries.isLost(transportMessage.message.from)) return;
      if (status.takesCalls && directory.noteSender(transportMessage.message)) updatePeers();
      driver.receive(transportMessage);
    },
    log,
  };
}
