/** One direction between two nodes. */
export interface Link {
  readonly from: string;
  readonly to: string;
}

/**
 * The condition of a link. `cut`: nothing passes. `stall`: nothing passes, but nothing is lost, and
 * connections stay open. `slow`: packets take longer, and some may get lost.
 */
export type LinkCondition =
  { readonly type: "cut" } | { readonly type: "stall" } | { readonly type: "slow"; readonly delayMs: number };

/**
 * Where a node runs: a place has an address and a directory, and room for one node at a time. The first node
 * of a place has its name; the id of a later one is the name and a number, as n3.2.
 */
export function placeOf(id: string): string {
  return id.split(".")[0] ?? id;
}

/** The network between the places; a place is known by its name. */
export interface TestNetwork {
  /** A description in one line, for the person who runs it. */
  readonly description: string;
  readonly conditions: readonly LinkCondition["type"][];
  /** Where the node `id` binds its servers. */
  hostOf(id: string): string;
  /** Where the other nodes reach it. */
  peerAddressOf(id: string): string;
  /** The prefix of a node's command line. */
  prefixOf(id: string): readonly string[];
  set(links: readonly Link[], condition: LinkCondition): Promise<void>;
  /** Removes the conditions of all links. */
  heal(): Promise<void>;
  close(): Promise<void>;
}

/** The port on which a node accepts the other nodes' connections. */
export const RAFT_PORT = 7001;
export const LINE_PORT = 8001;
export const HTTP_PORT = 9001;
