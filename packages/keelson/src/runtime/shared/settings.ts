// Checks the options of `Raft.open` before anything is opened, and fills in the defaults.
import { NODE_ID_PATTERN } from "../../codec/config.ts";
import { RECORD_HEADER_BYTES, RECORD_PAYLOAD_BYTES_MAX } from "../../codec/record.ts";
import { LOG_TIME_STEP_MS_MAX, SESSION_COMMAND_HEADER_BYTES } from "../../codec/session-entry.ts";
import type { NodeId } from "../../core/position.ts";
import { isDialable } from "../../environment/address.ts";
import { InvalidOptionError } from "../../errors.ts";
import type {
  Given,
  RaftLimits,
  RaftOptions,
  RaftTimings,
  SnapshotOptions,
  SnapshotPolicy,
} from "./options.ts";
import type { StandardSchema } from "./standard-schema.ts";
import type { StateMachine } from "./state-machine.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

/**
 * The most UTF-8 bytes that the option `info` may have: every handshake carries it, and each node keeps that
 * of every peer.
 */
const INFO_BYTES_MAX = 4 * KIB;

/** The defaults of `RaftLimits`. */
export const DEFAULT_LIMITS: RaftLimits = {
  commandBytesMax: MIB,
  pendingEntriesMax: 65_536,
  pendingBytesMax: 64 * MIB,
  pendingReadsMax: 65_536,
  cacheBytesMax: 16 * MIB,
  applyBatchEntriesMax: 1024,
  applyBatchBytesMax: 4 * MIB,
  changesMax: 1024,
};

/** The defaults of `RaftTimings`: for nodes in one data centre. */
export const DEFAULT_TIMINGS: RaftTimings = {
  electionTimeoutMinMs: 400,
  electionTimeoutMaxMs: 800,
  heartbeatMs: 80,
  callTimeoutMs: 10_000,
  storageTimeoutMs: 30_000,
  storageStallMs: 1600,
  stateStallMs: 8000,
  stateTimeoutMs: 60_000,
  catchUpTimeoutMs: 300_000,
};

/** The defaults of `SnapshotPolicy`. */
export const DEFAULT_SNAPSHOT_POLICY: SnapshotPolicy = {
  everyEntries: 100_000,
  everyBytes: 64 * MIB,
  keepEntries: 10_000,
  keepBytes: 64 * MIB,
  transferKeepBytes: 256 * MIB,
  fetchBytesPerSecond: Infinity,
};

/** The checked options, with the defaults filled in. See `RaftOptions` for the meaning of each. */
export interface Settings {
  readonly id: NodeId;
  /** The cluster's name; null: none was given. */
  readonly clusterId: string | null;
  readonly info: string;
  readonly priority: number;
  /** null: the node takes and installs no snapshots. */
  readonly snapshots: SnapshotPolicy | null;
  readonly limits: RaftLimits;
  readonly timings: RaftTimings;
  /**
   * The option `reachAt`: addresses of other nodes, by id. They are tried before the log's, which are tried
   * as well.
   */
  readonly reachAt: ReadonlyMap<NodeId, string>;
  readonly forward: boolean;
  readonly preVote: boolean;
  readonly checkQuorum: boolean;
  readonly clockDriftMax: number;
}

/** Makes the settings. @throws InvalidOptionError */
export function settingsOf<Command, Result>(options: RaftOptions<Command, Result>): Settings {
  checkId("id", options.id);
  if (options.listen !== undefined && options.transport !== undefined) {
    throw new InvalidOptionError("listen has no use with transport: the transport knows where to listen");
  }
  if ((options.peerTls ?? options.peerSecret) !== undefined && options.transport !== undefined) {
    // They must not look as if they had an effect.
    throw new InvalidOptionError(
      "peerTls and peerSecret have no use with transport: give them to the transport, as tcp({ tls, secret })",
    );
  }
  if (options.clusterId !== undefined) checkId("clusterId", options.clusterId);
  const info = options.info ?? "";
  const infoBytes = new TextEncoder().encode(info).length;
  if (infoBytes > INFO_BYTES_MAX) {
    throw new InvalidOptionError(
      `info has ${String(infoBytes)} bytes; the limit is ${String(INFO_BYTES_MAX)}`,
    );
  }
  const limits = numbersOf("limits", DEFAULT_LIMITS, options.limits, isCount, "a whole number from 1 on");
  const timings = numbersOf(
    "timings",
    DEFAULT_TIMINGS,
    options.timings,
    isDuration,
    "a number of milliseconds above 0",
  );
  checkLimits(limits);
  checkTimings(timings);
  checkSchema(options.stateMachine.schema);
  checkLogTimeStep(options.stateMachine.logTimeStepMs);
  return {
    id: options.id,
    clusterId: options.clusterId ?? null,
    info,
    snapshots: takesSnapshots(options) ? policyOf(options.snapshots ?? {}, options.stateMachine) : null,
    limits,
    timings,
    forward: forwardOf(options),
    preVote: options.preVote ?? true,
    checkQuorum: options.checkQuorum ?? true,
    priority: priorityOf(options.priority ?? 0),
    reachAt: reachAtOf(options.reachAt ?? {}),
    clockDriftMax: shareOf("clockDriftMax", options.clockDriftMax ?? 0.05),
  };
}

/**
 * Whether the node takes and installs snapshots: the option `snapshots` says so, or `data` gives them a place
 * and the state machine has `snapshot` and `restore`.
 */
export function takesSnapshots<Command, Result>({
  snapshots,
  data,
  stateMachine,
}: RaftOptions<Command, Result>): boolean {
  if (snapshots !== undefined) return true;
  return data !== undefined && stateMachine.snapshot !== undefined && stateMachine.restore !== undefined;
}

function policyOf<Command, Result>(
  { store: _, ...given }: SnapshotOptions,
  stateMachine: StateMachine<Command, Result>,
): SnapshotPolicy {
  for (const method of ["snapshot", "restore"] as const) {
    if (stateMachine[method] !== undefined) continue;
    throw new InvalidOptionError(
      `snapshots need a state machine that can give its state and take it back: stateMachine.${method} is missing`,
    );
  }
  const isFine = (value: unknown): boolean => typeof value === "number" && value >= 0;
  const policy = numbersOf("snapshots", DEFAULT_SNAPSHOT_POLICY, given, isFine, "a number from 0 on");
  for (const name of ["everyEntries", "everyBytes", "fetchBytesPerSecond"] as const) {
    if (policy[name] >= 1) continue;
    throw new InvalidOptionError(`snapshots.${name} is ${String(policy[name])}; it should be from 1 on`);
  }
  return policy;
}

function forwardOf<Command, Result>({ forward, stateMachine }: RaftOptions<Command, Result>): boolean {
  const { codec } = stateMachine;
  // Refused only if the program asked for forwarding. By default a node whose codec can't carry results still
  // forwards the calls that have none, such as changes of the membership.
  if (
    forward !== true ||
    codec === undefined ||
    (codec.encodeResult !== undefined && codec.decodeResult !== undefined)
  )
    return forward ?? true;
  throw new InvalidOptionError(
    "forward is true; then results travel between nodes, and stateMachine.codec should have encodeResult and decodeResult",
  );
}

/**
 * Refuses what is no schema of version 1, such as a schema's type or one of another version: it would
 * otherwise make each write fail.
 */
function checkSchema(schema: StandardSchema | null | undefined): void {
  if (schema === undefined) return;
  const standard: { readonly version?: unknown; readonly validate?: unknown } | undefined =
    schema?.["~standard"];
  if (standard?.version === 1 && typeof standard.validate === "function") return;
  throw new InvalidOptionError(
    "stateMachine.schema should be a schema of a library that follows version 1 of https://standardschema.dev",
  );
}

/**
 * A smaller step would fill the log with entries that only tell the time. With a larger one, log time would
 * fall behind: an idle leader tells it every 5 s.
 */
const LOG_TIME_STEP_MS = { min: 10, max: LOG_TIME_STEP_MS_MAX / 2 };

function checkLogTimeStep(stepMs: number | undefined): void {
  const { min, max } = LOG_TIME_STEP_MS;
  if (stepMs === undefined || (Number.isSafeInteger(stepMs) && stepMs >= min && stepMs <= max)) return;
  throw new InvalidOptionError(
    `stateMachine.logTimeStepMs is ${String(stepMs)}; it should be a whole number of milliseconds from ` +
      `${String(min)} to ${String(max)}`,
  );
}

/**
 * Checks the id of a node or the name of a cluster: both appear in file names, URLs and log messages.
 *
 * @throws InvalidOptionError
 */
export function checkId(what: string, id: string): void {
  if (typeof id === "string" && NODE_ID_PATTERN.test(id)) return;
  throw new InvalidOptionError(
    `${what} is ${JSON.stringify(id)}; it should be 1 to 64 of the characters A-Z a-z 0-9 . _ -`,
  );
}

function numbersOf<T extends object>(
  group: string,
  defaults: T,
  given: Given<T> | undefined,
  isFine: (value: unknown) => boolean,
  expected: string,
): T {
  const result = { ...defaults };
  for (const [name, value] of Object.entries(given ?? {})) {
    if (value === undefined) continue;
    if (!(name in defaults)) {
      throw new InvalidOptionError(
        `${group}.${name} is not an option; there are ${Object.keys(defaults).join(", ")}`,
      );
    }
    if (!isFine(value)) {
      throw new InvalidOptionError(`${group}.${name} is ${JSON.stringify(value)}; it should be ${expected}`);
    }
    Object.assign(result, { [name]: value });
  }
  return result;
}

function checkLimits(limits: RaftLimits): void {
  // A command of a session has a header before it in its entry, and must fit into the entry with it.
  const commandBytesMax = RECORD_PAYLOAD_BYTES_MAX - SESSION_COMMAND_HEADER_BYTES;
  if (limits.commandBytesMax > commandBytesMax) {
    throw new InvalidOptionError(
      `limits.commandBytesMax is ${String(limits.commandBytesMax)}; it should be at most ${String(commandBytesMax)}`,
    );
  }
  if (limits.pendingBytesMax < limits.commandBytesMax + RECORD_HEADER_BYTES) {
    throw new InvalidOptionError(
      `limits.pendingBytesMax is ${String(limits.pendingBytesMax)}; it should have room for one command of limits.commandBytesMax`,
    );
  }
}

function checkTimings(timings: RaftTimings): void {
  const { electionTimeoutMinMs: min, electionTimeoutMaxMs: max, heartbeatMs } = timings;
  if (max < min || max === Infinity) {
    throw new InvalidOptionError(
      `timings.electionTimeoutMaxMs is ${String(max)}; it should be from electionTimeoutMinMs (${String(min)}) on, best twice that`,
    );
  }
  checkStalls(timings);
  // One lost heartbeat must not start an election.
  if (heartbeatMs > min / 2) {
    throw new InvalidOptionError(
      `timings.heartbeatMs is ${String(heartbeatMs)}; it should be at most half of electionTimeoutMinMs (${String(min)})`,
    );
  }
}

/**
 * A leader whose log or state machine hangs should hand its leadership over (at the stall) before it stops
 * (at the timeout): otherwise the cluster would wait for an election timeout without a leader.
 */
function checkStalls(timings: RaftTimings): void {
  for (const part of ["storage", "state"] as const) {
    const [stall, timeout] = [`${part}StallMs`, `${part}TimeoutMs`] as const;
    if (timings[stall] < timings[timeout]) continue;
    throw new InvalidOptionError(
      `timings.${stall} is ${String(timings[stall])}; it should be less than ${timeout} (${String(timings[timeout])}): ` +
        "a leader hands its leadership over after the first, and stops after the second",
    );
  }
}

function reachAtOf(addresses: Readonly<Record<NodeId, string>>): ReadonlyMap<NodeId, string> {
  return new Map(
    Object.entries(addresses).map(([id, address]) => {
      checkId("an id in reachAt", id);
      if (typeof address !== "string" || address === "") {
        throw new InvalidOptionError(
          `the address of ${id} in reachAt is ${JSON.stringify(address)}; it should be a text`,
        );
      }
      if (isDialable(address)) return [id, address];
      throw new InvalidOptionError(
        `the address of ${id} in reachAt is ${JSON.stringify(address)}, which nobody can dial`,
      );
    }),
  );
}

function priorityOf(value: number): number {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new InvalidOptionError(`priority is ${String(value)}; it should be a whole number from 0 on`);
}

function shareOf(name: string, value: number): number {
  if (typeof value === "number" && value >= 0 && value < 1) return value;
  throw new InvalidOptionError(`${name} is ${String(value)}; it should be from 0 to less than 1`);
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && Number(value) >= 1;
}

function isDuration(value: unknown): boolean {
  return typeof value === "number" && value > 0;
}
