/** Opens a node of the real runtime on simulated parts, as the plan configures it. */
import { RECORD_HEADER_BYTES } from "../../../codec/record.ts";
import { SESSION_COMMAND_HEADER_BYTES } from "../../../codec/session-entry.ts";
import type { Environment } from "../../../environment/environment.ts";
import type { RaftNode } from "../../../core/node.ts";
import {
  coreObserver,
  coreWindow,
  sessionLimits,
  stateProbe,
  type CoreObserverOption,
  type ProbedState,
} from "../../../runtime/lifecycle/index.ts";
import { Raft } from "../../../runtime/raft.ts";
import type {
  RaftLimits,
  RaftOptions,
  RaftTimings,
  SnapshotPolicy,
  StateMachine,
} from "../../../runtime/shared/index.ts";
import { snapshotFiles } from "../../../storage/snapshots/index.ts";
import type { LogStore } from "../../../storage/log-store.ts";
import type { SnapshotHeader, SnapshotStore } from "../../../storage/snapshot-store.ts";
import type { Transport } from "../../../transport/transport.ts";
import { Violation } from "../checkers/violation.ts";
import { STATE_STALL_MS, STATE_TIMEOUT_MS, STORAGE_TIMEOUT_MS } from "../plan/hang-faults.ts";
import type { Plan } from "../plan/plan.ts";
import { HeldCollections } from "./held-collections.ts";

/** What nodes log about a frame that they can't read. */
const UNREADABLE_FRAME = /damaged on its way|is not a frame|announces|unknown type|records are not those/;

export interface NodeParts {
  readonly id: string;
  /** The node's place in the plan. */
  readonly node: number;
  readonly plan: Plan;
  readonly stateMachine: StateMachine<unknown, unknown>;
  readonly log: LogStore;
  readonly transport: Transport;
  readonly environment: Environment;
  readonly report: (error: unknown) => void;
  /** A snapshot of the node's own state is begun. */
  readonly takingSnapshot: (header: Omit<SnapshotHeader, "id">) => void;
  /** Called once with the node's core, before its first input. */
  readonly observeCore: (core: RaftNode) => void;
  /** Called once, before the node takes any input, with a function that tells its state at each call. */
  readonly probed: (probe: () => ProbedState) => void;
}

/** What the parts of each open node keep in maps and sets. */
const HELD = new WeakMap<Raft<unknown, unknown>, HeldCollections>();

/** What a collection of the node's parts holds beyond `sizeMax`; null: none holds more. */
export function heldBeyond(raft: Raft<unknown, unknown>, sizeMax: number): string | null {
  return HELD.get(raft)?.excess(sizeMax) ?? null;
}

/** Rejects as `Raft.open` does. */
export async function openNode(parts: NodeParts): Promise<Raft<unknown, unknown>> {
  const held = new HeldCollections();
  const options = optionsOf(parts);
  try {
    const observed: typeof options = {
      ...options,
      // The node's parts are made between these two calls, in one turn.
      [coreObserver]: (core) => {
        parts.observeCore(core);
        held.begin();
      },
      [stateProbe]: (probe) => {
        held.end();
        parts.probed(probe);
      },
    };
    const raft = await Raft.open(observed);
    HELD.set(raft, held);
    return raft;
  } finally {
    held.end();
  }
}

function optionsOf(parts: NodeParts): RaftOptions<unknown, unknown> & CoreObserverOption {
  const { id, node, plan, stateMachine, log, transport, environment, report, takingSnapshot } = parts;
  const hasSnapshots = plan.snapshots !== null && stateMachine.snapshot !== undefined;
  return {
    ...(plan.window === null ? {} : { [coreWindow]: plan.window }),
    ...(plan.sessionLimits === null ? {} : { [sessionLimits]: plan.sessionLimits }),
    id,
    stateMachine,
    log,
    transport,
    environment,
    ...(hasSnapshots
      ? { snapshots: { store: snapshotsOf(id, takingSnapshot), ...snapshotPolicyOf(plan.snapshots) } }
      : {}),
    forward: plan.usage.forward && stateMachine.codec?.encodeResult !== undefined,
    preVote: plan.preVote,
    checkQuorum: plan.checkQuorum,
    clockDriftMax: plan.clockDriftMax,
    priority: plan.priorities[node] ?? 0,
    limits: limitsOf(plan),
    timings: timingsOf(plan),
    onLog: ({ text }) => {
      // Nothing damages frames in the simulation. One that can't be read was written or read wrongly.
      if (UNREADABLE_FRAME.test(text)) report(new Violation("WIRE", `${id}: ${text}`));
      // What a logger throws must change nothing (Z12).
      throw new Error("the logger is out of order");
    },
  };
}

function snapshotsOf(id: string, taking: NodeParts["takingSnapshot"]): SnapshotStore {
  const store = snapshotFiles(`/${id}.snapshots`);
  const create = store.create.bind(store);
  store.create = (header, sessions) => {
    taking(header);
    return create(header, sessions);
  };
  return store;
}

function snapshotPolicyOf(snapshots: NonNullable<Plan["snapshots"]>): Partial<SnapshotPolicy> {
  const { everyEntries, keepEntries, transferKeepBytes, fetchBytesPerSecond } = snapshots;
  return { everyEntries, keepEntries, transferKeepBytes, fetchBytesPerSecond };
}

function limitsOf(plan: Plan): Partial<RaftLimits> {
  const sessionBytes = plan.sessions === null ? 0 : SESSION_COMMAND_HEADER_BYTES;
  return {
    cacheBytesMax: plan.cacheBytes,
    commandBytesMax: plan.pendingBytesMax - RECORD_HEADER_BYTES - sessionBytes,
    pendingEntriesMax: plan.pendingEntriesMax,
    pendingReadsMax: plan.usage.pendingReadsMax,
    ...(plan.usage.listeners === null ? {} : { changesMax: plan.usage.listeners.changesMax }),
    pendingBytesMax: plan.pendingBytesMax,
  };
}

function timingsOf(plan: Plan): Partial<RaftTimings> {
  return {
    electionTimeoutMinMs: plan.electionTimeoutMs.min,
    electionTimeoutMaxMs: plan.electionTimeoutMs.max,
    heartbeatMs: plan.heartbeatMs,
    callTimeoutMs: plan.callTimeoutMs,
    storageTimeoutMs: STORAGE_TIMEOUT_MS,
    storageStallMs: plan.storageStallMs,
    stateStallMs: STATE_STALL_MS,
    stateTimeoutMs: STATE_TIMEOUT_MS,
  };
}
