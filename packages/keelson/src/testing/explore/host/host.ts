import {
  configOf,
  EMPTY_CONFIG,
  ORIGIN,
  RaftNode,
  sameConfig,
  type Actions,
  type ClusterConfig,
  type ConfigAt,
  type HardState,
  type InstallSnapshot,
  type LogImage,
  type Message,
  type NodeId,
  type NodeImage,
  type AddressedMessage,
  type RaftNodeOptions,
  type TermRun,
} from "../../../core/index.ts";
import { configsOf, nameOf, placeOf, type Bounds } from "../shared/bounds.ts";
import { invariant } from "../shared/violation.ts";

/** What an entry holds: a proposal's number from 1 on, or a new leader's blank, or, below 0, a configuration. */
export type Payload = number;
/** A new leader's first entry. */
export const BLANK: Payload = 0;

/**
 * A configuration as a payload is minus a number with a bit for each voter, by its place, and from this bit on one for each
 * outgoing voter. So an explored group has at most 5 nodes, and no learners.
 */
const OUTGOING_BIT = 5;

export function payloadOf({ voters, outgoingVoters }: ClusterConfig): Payload {
  const bits = (ids: readonly NodeId[]): number => ids.reduce((sum, id) => sum + 2 ** placeOf(id), 0);
  return -(bits(voters) + bits(outgoingVoters) * 2 ** OUTGOING_BIT);
}

/** The configuration that a payload is; null: it is none. */
export function configIn(payload: Payload): ClusterConfig | null {
  if (payload >= 0) return null;
  const named = (bits: number): NodeId[] =>
    Array.from({ length: OUTGOING_BIT }, (_, place) => place)
      .filter((place) => Math.floor(bits / 2 ** place) % 2 === 1)
      .map(nameOf);
  const outgoing = Math.floor(-payload / 2 ** OUTGOING_BIT);
  return { ...configOf(named(-payload)), outgoingVoters: named(outgoing) };
}

/** The configurations among entries, each with its index. */
export function configsIn(log: readonly Entry[]): ConfigAt[] {
  return log.flatMap(({ payload }, at) => {
    const config = configIn(payload);
    return config === null ? [] : [{ index: at + 1, config }];
  });
}

/** An entry; its index is its place in the log, from 1. */
export interface Entry {
  readonly term: number;
  readonly payload: Payload;
}

/** A message on its way, with the payloads that its sender attached; with a snapshot, all that it covers. */
export interface MessageInTransit {
  readonly to: NodeId;
  readonly message: Message;
  readonly entries: readonly Entry[];
}

/** What a crash does not take. */
export interface Disk {
  readonly hardState: HardState;
  /** All entries, those too that a snapshot covers: the state machine's state is what they say. */
  readonly log: readonly Entry[];
  /** How many a snapshot covers. */
  readonly covered: number;
}

/** A write under way, and what may be sent once it is durable. */
export interface Write {
  readonly persistId: number;
  readonly hardState: HardState | null;
  readonly truncateFrom: number | null;
  /** Where the entries begin. */
  readonly from: number;
  readonly entries: readonly Entry[];
  readonly messagesAfterPersist: readonly MessageInTransit[];
}

/** A node and what belongs to it: the smallest driver, as a value. */
export interface Host {
  readonly id: NodeId;
  readonly node: NodeImage;
  /** The entries that the node knows, stored or not. */
  readonly memory: readonly Entry[];
  readonly disk: Disk;
  /** Oldest first. */
  readonly writes: readonly Write[];
  /** A snapshot that the node wants installed, with what it covers. */
  readonly wanted: { readonly offer: InstallSnapshot; readonly entries: readonly Entry[] } | null;
  /** Whether there was an input since the actions were taken last. */
  readonly hasUndrainedInput: boolean;
}

/** A node's role with the state of that role. */
export type RoleImage = NodeImage["role"];
type ProgressList = Extract<RoleImage, { type: "leader" }>["progress"];
type MemberImage = ProgressList[number][1];

/** The progress of each follower on a leader; empty for other roles. */
export function progressOf({ role }: NodeImage): ProgressList {
  return role.type === "leader" ? role.progress : [];
}

/** What can happen to one host. */
export type HostEvent =
  | { readonly type: "timeout" }
  | { readonly type: "heartbeat" }
  /** A heartbeat of a leader that no follower has answered for so long that it sends questions alone. */
  | { readonly type: "unanswered-heartbeat" }
  | { readonly type: "step-down" }
  | { readonly type: "lease-ends" }
  | { readonly type: "propose"; readonly payload: Payload }
  | { readonly type: "deliver"; readonly message: MessageInTransit }
  | { readonly type: "change"; readonly target: number }
  | { readonly type: "snapshot" }
  /** The snapshot that is wanted is on disk, and the node hears of it. */
  | { readonly type: "install" }
  /** It is on disk, and the node crashes before it hears of it. */
  | { readonly type: "install-crash" }
  | { readonly type: "persist" }
  | { readonly type: "drain" }
  /** Loses all but the disk and the first `steps` steps of the writes under way; then restarts. */
  | { readonly type: "crash"; readonly steps: number };

/** What came of an event. */
export interface Step {
  readonly host: Host;
  /** Messages that left, in order, each with the disk as it was when it left. */
  readonly sent: readonly { readonly message: MessageInTransit; readonly disk: Disk }[];
}

// Time stands still at 0 but for the events that are about it. What a node can tell of time is
// whether it heard its leader lately, and that is an event's doing too.
const ELECTION_MS = { min: 400, max: 800 };
const HEARTBEAT_MS = 80;
/** Later than every deadline. */
const LATE_MS = 10_000;
/** Longer ago than any timeout. */
export const LONG_AGO_MS = -10_000;

function optionsOf(bounds: Bounds, id: NodeId): RaftNodeOptions {
  return {
    id,
    random: () => 0,
    electionTimeoutMs: ELECTION_MS,
    heartbeatMs: HEARTBEAT_MS,
    preVote: bounds.preVote,
    checkQuorum: bounds.checkQuorum,
  };
}

/** A host before anything happens. */
export function newHost(bounds: Bounds, id: NodeId, founder: boolean): Host {
  const node = RaftNode.start(optionsOf(bounds, id));
  const log: Entry[] = [];
  if (founder) {
    const { first } = configsOf(bounds);
    node.createCluster(first.voters, 0);
    const actions = node.takeActions();
    node.handlePersisted(actions.persistId, 0);
    node.takeActions();
    log.push({ term: 1, payload: payloadOf(first) });
  }
  const hardState = { term: node.term, votedFor: node.votedFor };
  const disk = { hardState, log, covered: 0 };
  const host = {
    id,
    node: node.capture(),
    memory: log,
    disk,
    writes: [],
    wanted: null,
    hasUndrainedInput: false,
  };
  return normalise(bounds, host);
}

/** Lets one thing happen to a host. Throws what the node throws. */
export function step(bounds: Bounds, before: Host, event: HostEvent): Step {
  if (event.type === "crash")
    return { host: normalise(bounds, crash(bounds, before, event.steps)), sent: [] };
  if (event.type === "install-crash") {
    const host = restart(bounds, before.id, installed(before.disk, before.wanted), 0);
    return { host: normalise(bounds, host), sent: [] };
  }
  if (event.type === "lease-ends") {
    return { host: { ...before, node: { ...before.node, leaderHeardAt: LONG_AGO_MS } }, sent: [] };
  }
  const machine = new RunningHost(
    bounds,
    event.type === "unanswered-heartbeat" ? withoutAnswers(before) : before,
  );
  if (event.type !== "drain") machine.input(event);
  if (event.type === "drain" || !bounds.batching) machine.drain();
  return { host: normalise(bounds, machine.capture()), sent: machine.sent };
}

function withoutAnswers(host: Host): Host {
  const { node } = host;
  if (node.role.type !== "leader") return host;
  const progress = node.role.progress.map(([id, one]) => [id, { ...one, activeAt: LONG_AGO_MS }] as const);
  return { ...host, node: { ...node, role: { ...node.role, progress } } };
}

type Input = Exclude<HostEvent, { type: "crash" | "install-crash" | "lease-ends" | "drain" }>;

/** A host that runs for the length of one event. */
class RunningHost {
  readonly #bounds: Bounds;
  readonly #id: NodeId;
  readonly #node: RaftNode;
  #wanted: Host["wanted"];
  /** The last snapshot that was offered. */
  #offered: MessageInTransit | null = null;
  #memory: Entry[];
  #disk: Disk;
  #writes: Write[];
  #hasUndrainedInput: boolean;
  readonly sent: { message: MessageInTransit; disk: Disk }[] = [];

  constructor(bounds: Bounds, { id, node, memory, disk, writes, wanted, hasUndrainedInput }: Host) {
    this.#bounds = bounds;
    this.#id = id;
    this.#wanted = wanted;
    this.#node = RaftNode.revive(optionsOf(bounds, id), node);
    this.#memory = [...memory];
    this.#disk = disk;
    this.#writes = [...writes];
    this.#hasUndrainedInput = hasUndrainedInput;
  }

  capture(): Host {
    return {
      id: this.#id,
      node: this.#node.capture(),
      memory: this.#memory,
      disk: this.#disk,
      writes: this.#writes,
      wanted: this.#wanted,
      hasUndrainedInput: this.#hasUndrainedInput,
    };
  }

  input(event: Input): void {
    this.#hasUndrainedInput = true;
    switch (event.type) {
      case "timeout":
      case "step-down":
        this.#node.handleTimeout(LATE_MS);
        break;
      case "heartbeat":
      case "unanswered-heartbeat":
        this.#node.handleTimeout(HEARTBEAT_MS);
        break;
      case "propose":
        if (this.#node.proposeCommand(0) !== null) {
          this.#memory.push({ term: this.#node.term, payload: event.payload });
        }
        break;
      case "change":
        this.#change(event.target);
        break;
      case "snapshot":
        this.#compact();
        break;
      case "install":
        this.#install();
        break;
      case "deliver":
        this.#receive(event.message);
        break;
      case "persist":
        this.#persist();
        break;
    }
    this.#addEntriesOfCore();
    invariant(
      this.#memory.length === this.#node.log.last.index,
      () => `DRIVER: ${this.#id} has entries that no message and no proposal brought`,
    );
  }

  /** The entries that the node takes from the message are kept, from the first that its log did not hold. */
  #receive({ message, entries }: MessageInTransit): void {
    if (message.type === "install-snapshot") this.#offered = { to: this.#id, message, entries };
    if (message.type !== "append-entries") {
      this.#node.handleMessage(message, 0);
      return;
    }
    const { prev } = message.entries;
    const { log } = this.#node;
    const holds = (entry: Entry, at: number): boolean => {
      const index = prev.index + 1 + at;
      return index <= log.base.index || log.termAt(index) === entry.term;
    };
    const first = entries.findIndex((entry, at) => !holds(entry, at));
    this.#node.handleMessage(message, 0);
    const fresh = entries[first];
    if (fresh === undefined || !holds(fresh, first)) {
      // Nothing was taken; that nothing was lost is for the invariants to say.
      this.#memory.length = Math.min(this.#memory.length, this.#node.log.last.index);
      return;
    }
    this.#memory.length = prev.index + first;
    this.#memory.push(...entries.slice(first));
  }

  #persist(): void {
    const [write, ...rest] = this.#writes;
    if (write === undefined) return;
    this.#writes = rest;
    this.#disk = written(this.#disk, write, Infinity).disk;
    for (const message of write.messagesAfterPersist) this.#send(message);
    this.#node.handlePersisted(write.persistId, 0);
  }

  #change(target: number): void {
    const config = configsOf(this.#bounds).targets[target];
    if (config !== undefined && !sameConfig(config, this.#node.config)) this.#node.proposeConfig(config, 0);
  }

  /** The state machine's state is on disk up to here, and the log before it is forgotten. */
  #compact(): void {
    const covered = Math.min(this.#node.commitIndex, this.#node.durableIndex);
    this.#disk = { ...this.#disk, covered };
    this.#node.handleCompacted(covered, 0);
  }

  #install(): void {
    if (this.#wanted === null) return;
    const { offer, entries } = this.#wanted;
    this.#disk = installed(this.#disk, this.#wanted);
    this.#wanted = null;
    if (offer.last.index <= this.#node.log.base.index) return;
    this.#node.handleSnapshotInstalled(offer.last, offer.config, 0);
    this.#memory = [...entries, ...this.#memory.slice(entries.length, this.#node.log.last.index)];
  }

  /** A new leader's first entry, and the steps of a change of membership, are the node's own. */
  #addEntriesOfCore(): void {
    const { log, role } = this.#node;
    while (role === "leader" && this.#memory.length < log.last.index) {
      const index = this.#memory.length + 1;
      const at = log.configAt(index);
      const payload = at.index === index ? payloadOf(at.config) : BLANK;
      this.#memory.push({ term: log.termAt(index) ?? 0, payload });
    }
  }

  drain(): void {
    const actions = this.#node.takeActions();
    this.#hasUndrainedInput = false;
    const { installSnapshot } = actions;
    if (installSnapshot !== null && this.#offered?.message === installSnapshot) {
      this.#wanted = { offer: installSnapshot, entries: this.#offered.entries };
    }
    for (const { to } of actions.snapshots) this.#send(this.#offerTo(to));
    if (actions.needsPersist) this.#writes.push(this.#writeOf(actions));
    for (const outgoing of actions.messages) this.#send(this.#inTransit(outgoing));
  }

  #writeOf({ persistId, hardState, append, messagesAfterPersist }: Actions): Write {
    return {
      persistId,
      hardState,
      truncateFrom: append?.truncateFrom ?? null,
      from: append?.from ?? 0,
      entries: append === null ? [] : this.#memory.slice(append.from - 1, append.to - 1),
      messagesAfterPersist: messagesAfterPersist.map((outgoing) => this.#inTransit(outgoing)),
    };
  }

  #offerTo(to: NodeId): MessageInTransit {
    const { base } = this.#node.log;
    const { baseConfig: config } = this.#node.capture().log;
    const { term } = this.#node;
    const message = { type: "install-snapshot", from: this.#id, term, last: base, config, round: 0 } as const;
    return { to, message, entries: this.#memory.slice(0, base.index) };
  }

  #inTransit({ to, message }: AddressedMessage): MessageInTransit {
    if (message.type !== "append-entries") return { to, message, entries: [] };
    const { prev, lastIndex } = message.entries;
    return { to, message, entries: this.#memory.slice(prev.index, lastIndex) };
  }

  #send(message: MessageInTransit): void {
    this.sent.push({ message, disk: this.#disk });
  }
}

/** The steps in which a write reaches the disk; a crash may keep any number of them, in this order. */
export function stepsOf(write: Write): number {
  return (write.hardState === null ? 0 : 1) + (write.truncateFrom === null ? 0 : 1) + write.entries.length;
}

/** The disk after at most `steps` steps of a write, and how many were left over. */
function written(disk: Disk, write: Write, steps: number): { disk: Disk; left: number } {
  const { covered } = disk;
  let { hardState, log } = disk;
  let left = steps;
  if (write.hardState !== null && left > 0) {
    hardState = write.hardState;
    left -= 1;
  }
  if (write.truncateFrom !== null && left > 0) {
    log = log.slice(0, write.truncateFrom - 1);
    left -= 1;
  }
  if (write.entries.length > 0 && left > 0) {
    invariant(
      log.length === write.from - 1,
      () => `DRIVER: a write begins at ${write.from} after ${log.length}`,
    );
    log = [...log, ...write.entries.slice(0, left)];
    left -= Math.min(left, write.entries.length);
  }
  return { disk: { hardState, log, covered }, left };
}

/** The disk with a snapshot in place of what it covers; the rest of the log stays if it goes on from there. */
function installed(disk: Disk, wanted: Host["wanted"]): Disk {
  if (wanted === null || wanted.offer.last.index <= disk.covered) return disk;
  const { last } = wanted.offer;
  const held = disk.log[last.index - 1]?.term === last.term;
  const log = [...wanted.entries, ...(held ? disk.log.slice(last.index) : [])];
  return { ...disk, log, covered: last.index };
}

function crash(bounds: Bounds, before: Host, steps: number): Host {
  let { disk } = before;
  let left = steps;
  for (const write of before.writes) {
    if (left <= 0) break;
    ({ disk, left } = written(disk, write, left));
  }
  const { id } = before;
  const applied = Math.min(before.node.commitIndex, before.node.durableIndex, disk.log.length);
  return restart(bounds, id, disk, bounds.durableMachine ? applied : 0);
}

/** A host that has just been restarted from its disk. */
export function restartedHost(bounds: Bounds, id: NodeId, disk: Disk): Host {
  return normalise(bounds, restart(bounds, id, disk, 0));
}

function restart(bounds: Bounds, id: NodeId, disk: Disk, commit: number): Host {
  const options = optionsOf(bounds, id);
  const { hardState, log, covered } = disk;
  const known = Math.max(commit, covered);
  const node =
    log.length === 0 && hardState.term === 0
      ? RaftNode.start(options)
      : RaftNode.restart({ ...options, now: 0, hardState, log: imageOf(disk), commitIndex: known });
  return { id, node: node.capture(), memory: log, disk, writes: [], wanted: null, hasUndrainedInput: false };
}

/** What the core needs to know of a stored log. */
export function imageOf({ log, covered }: Pick<Disk, "log" | "covered">): LogImage {
  const terms: TermRun[] = [];
  for (const [at, { term }] of log.entries()) {
    if (at >= covered && terms.at(-1)?.term !== term) terms.push({ index: at + 1, term });
  }
  const term = log[covered - 1]?.term;
  const base = term === undefined ? ORIGIN : { term, index: covered };
  const all = configsIn(log);
  const baseConfig = all.findLast(({ index }) => index <= covered)?.config ?? EMPTY_CONFIG;
  const configs = all.filter(({ index }) => index > covered);
  return { base, baseConfig, terms, configs, lastIndex: log.length };
}

/** Whether the node takes for configurations what its entries say: the last of them is in force (§6). */
export function configsAgree({ node, memory }: Host): boolean {
  const { base, baseConfig, configs, lastIndex } = node.log;
  const expected = imageOf({ log: memory.slice(0, lastIndex), covered: base.index });
  return (
    sameConfig(expected.baseConfig, baseConfig) &&
    configs.length === expected.configs.length &&
    configs.every(({ index, config }, at) => {
      const entry = expected.configs[at];
      return entry?.index === index && sameConfig(entry.config, config);
    })
  );
}

/**
 * The same host with all that makes no difference made equal: what the clocks show, which numbers
 * the batches have (only their order counts), and what a role leaves behind that the next one sets anew.
 */
function normalise(bounds: Bounds, host: Host): Host {
  const { node } = host;
  const leads = node.role.type === "leader";
  const looksAtLease = bounds.preVote || bounds.checkQuorum;
  const fresh = looksAtLease && !leads && node.now < node.leaderHeardAt + ELECTION_MS.min;
  const rank = rankOfBatches(host);
  return {
    ...host,
    writes: host.writes.map((write) => ({ ...write, persistId: rank(write.persistId) })),
    node: {
      ...node,
      now: 0,
      timer: null,
      leaderHeardAt: fresh ? 0 : LONG_AGO_MS,
      electionDeadline: node.electionDeadline === null ? null : ELECTION_MS.min,
      hardStateId: rank(node.hardStateId),
      persistedId: 0,
      appendsInFlight: node.appendsInFlight.map((append) => ({
        ...append,
        persistId: rank(append.persistId),
      })),
      pendingActions: { ...node.pendingActions, persistId: rank(node.pendingActions.persistId) },
      role: normaliseRole(node.role, rank),
    },
  };
}

function normaliseRole(role: RoleImage, rank: (persistId: number) => number): RoleImage {
  switch (role.type) {
    case "follower":
      return role;
    case "pre-candidate":
      return { ...role, votes: [...role.votes].sort() };
    case "candidate": {
      const ownVoteId = role.ownVoteId === null ? null : rank(role.ownVoteId);
      return { ...role, votes: [...role.votes].sort(), ownVoteId };
    }
    case "leader":
      return {
        ...role,
        heartbeatDeadline: role.progress.length > 0 ? HEARTBEAT_MS : Infinity,
        progress: role.progress
          .map(([id, one]) => [id, { ...one, activeAt: 0, removalNotice: removalNoticeOf(one) }] as const)
          .sort(([a], [b]) => (a < b ? -1 : 1)),
      };
  }
}

/** Nobody is given up within the time that passes here. */
function removalNoticeOf({ removalNotice }: MemberImage): MemberImage["removalNotice"] {
  return removalNotice === null ? null : { ...removalNotice, until: LATE_MS };
}

/** Batches under way are 1, 2, ...; the one being gathered comes after them; all that are durable are 0. */
function rankOfBatches({ id, node, writes }: Host): (persistId: number) => number {
  return (persistId) => {
    if (persistId <= node.persistedId) return 0;
    if (persistId === node.pendingActions.persistId) return writes.length + 1;
    const at = writes.findIndex((write) => write.persistId === persistId);
    invariant(at >= 0, () => `DRIVER: ${id} waits for a batch that nobody writes`);
    return at + 1;
  };
}
