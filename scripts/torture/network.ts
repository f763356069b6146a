/** One direction between two nodes. */
export interface Link {
  readonly from: string;
  readonly to: string;
}

/**
 * What a link does to what it carries. `cut`: nothing passes; `stall`: nothing passes, nothing is
 * lost, and connections stand; `slow`: it takes longer, and some of it may get lost.
 */
export type LinkCondition =
  { readonly type: "cut" } | { readonly type: "stall" } | { readonly type: "slow"; readonly delayMs: number };

/**
 * Where a node runs: a place has an address and a directory, and room for one node at a time. The first node of a place
 * has its name; the id of a later one is the name and a number, as n3.2.
 */
export function placeOf(id: string): string {
  return id.split(".")[0] ?? id;
}

/** What is between the nodes' places, by whose names it knows them. */
export interface TestNetwork {
  /** In a line, for the person who runs it. */
  readonly description: string;
  readonly conditions: readonly LinkCondition["type"][];
  /** Where the node `id` binds its servers. */
  hostOf(id: string): string;
  /** Where the other nodes reach it. */
  peerAddressOf(id: string): string;
  /** What to begin a node's command line with. */
  prefixOf(id: string): readonly string[];
  set(links: readonly Link[], condition: LinkCondition): Promise<void>;
  /** Takes every condition away. */
  heal(): Promise<void>;
  close(): Promise<void>;
}

/** Where a node accepts the others' connections, at its own host. */
export const RAFT_PORT = 7001;
export const LINE_PORT = 8001;
export const HTTP_PORT = 9001;
