import type { Fault, FaultType } from "./faults.ts";

/** A whole run, decided before it begins, so that it can be printed, repeated and made smaller. */
export interface Plan {
  readonly seed: number;
  readonly nodes: number;
  /** The last so many of the nodes are no members at first. */
  readonly spares: number;
  /** `tcp`: the real transport over streams of bytes; `datagrams`: messages that are lost, doubled and reordered one by one. */
  readonly transport: "tcp" | "datagrams";
  /** Whether the state machine keeps its state on a disk of its own, or builds it again from the log. */
  readonly durableState: boolean;
  readonly preVote: boolean;
  readonly checkQuorum: boolean;
  readonly electionTimeoutMs: { readonly min: number; readonly max: number };
  readonly heartbeatMs: number;
  /** How fast each node's clock runs; 1: right. */
  readonly clockRates: readonly number[];
  readonly segmentBytes: number;
  readonly cacheBytes: number;
  /** How long each call to the disk takes while the disk is well: what comes between a write and its sync happens in it. */
  readonly diskMs: number;
  /** The limits on proposals under way. */
  readonly pendingEntriesMax: number;
  readonly pendingBytesMax: number;
  /** When snapshots are taken, and how much of the log is kept beside them; null: never. */
  readonly snapshots: {
    readonly everyEntries: number;
    readonly keepEntries: number;
    readonly transferKeepBytes: number;
    /** What makes every snapshot larger by so much, and how fast one is fetched. */
    readonly ballastBytes: number;
    readonly fetchBytesPerSecond: number;
  } | null;
  /** Reads of the log return fewer entries than there is room for, as they may. */
  readonly shortReads: boolean;
  /** Each node's stream of committed commands is read, and left and opened again after so many; null: nobody reads it. */
  readonly followCommands: number | null;
  /** A late copy of an answer to a leader comes when the same node leads again. Streams have no such copies. */
  readonly replayOldMessages: boolean;
  readonly linkDelayMs: { readonly min: number; readonly max: number };
  /** Which nodes call `initialize`, at the same time. */
  readonly initializers: readonly number[];
  /** How long the nodes are up before they do. */
  readonly initializeAfterMs: number;
  readonly clients: number;
  readonly keys: number;
  /** The pause between two calls of one client, on average. */
  readonly thinkMs: number;
  /** How long a client's call may take. */
  readonly callTimeoutMs: number;
  readonly readShare: number;
  /** Of the reads: those that trust the leader's lease, if it has one, and those that may be old, besides. */
  readonly leaseShare: number;
  readonly staleShare: number;
  /** What the nodes are told of their clocks: how far each may be wrong. */
  readonly clockDriftMax: number;
  /** How much each node should lead; empty: nobody minds. */
  readonly priorities: readonly number[];
  /** A leader whose disk takes longer for a write hands over. */
  readonly storageStallMs: number;
  readonly valueBytesMax: number;
  /** The first so many clients write in sessions, which live for so long unused; null: none does. */
  readonly sessions: { readonly clients: number; readonly ttlMs: number } | null;
  /** In which ways callers use the nodes. */
  readonly usage: Usage;
  /** How far each node's wall clock is ahead of the true time. */
  readonly wallOffsetsMs: readonly number[];
  /** When the faults end and the run heals. */
  readonly faultyMs: number;
  /** In order of time. */
  readonly faults: readonly Fault[];
}

/** How the nodes are used: nothing of it is a fault, and every answer must be as true as ever. */
export interface Usage {
  /** Nodes that do not lead pass on what only a leader can do. */
  readonly forward: boolean;
  /** Of the calls, those that their callers give up by a signal, some of them before they are made. */
  readonly abortShare: number;
  /** Reads that wait at once; queries that take so long, and hold up nobody. */
  readonly pendingReadsMax: number;
  readonly queryMs: number;
  /** Those who listen to the nodes' changes are slow, and go and come again; null: they hear all at once. */
  readonly listeners: {
    readonly changesMax: number;
    readonly pauseMs: number;
    readonly leaveAfter: number;
  } | null;
  /** Of the sessions' clients, those that let the library count and repeat; and of the answers, those after which a session is closed. */
  readonly librarySessions: boolean;
  readonly closeShare: number;
}

export const PLAIN_USAGE: Usage = {
  forward: false,
  abortShare: 0,
  pendingReadsMax: 65_536,
  queryMs: 0,
  listeners: null,
  librarySessions: false,
  closeShare: 0,
};

/** What must never cost a leader its place. */
export const HARMLESS_FAULTS: readonly FaultType[] = ["slow-apply", "quiet"];

/** Whether nothing happens in the run that may cost a leader its place. */
export function hasOnlyHarmlessFaults({ faults }: Plan): boolean {
  return faults.every(({ type }) => HARMLESS_FAULTS.includes(type));
}
