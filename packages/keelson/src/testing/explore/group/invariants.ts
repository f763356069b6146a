import {
  EMPTY_CONFIG,
  isJoint,
  membersOf,
  sameConfig,
  type ClusterConfig,
  type NodeId,
} from "../../../core/index.ts";
import type { Committed, GroupHistory } from "./group-history.ts";
import { configsIn, type Entry } from "../host/entry.ts";
import { configsAgree } from "../host/host.ts";
import {
  progressOf,
  type Disk,
  type Host,
  type HostEvent,
  type MessageInTransit,
  type Step,
} from "../host/host-state.ts";
import { invariant } from "../shared/violation.ts";

/**
 * Checks the step of one host, without looking at others: MONO, PBR, ORD, CFG, DUR, and LM with its own past.
 */
export function checkStep(before: Host, event: HostEvent, { host: after, sent }: Step): void {
  checkDurableVote(before, after);
  checkOrder(after);
  checkConfigs(after);
  for (const { message, disk } of sent) checkPersistedBeforeSent(after, message, disk);
  if (event.type === "crash" || event.type === "install-crash") return;
  const { id, node } = after;
  invariant(before.node.term <= node.term, () => `MONO: the term of ${id} fell`);
  invariant(before.node.commitIndex <= node.commitIndex, () => `MONO: the commit index of ${id} fell`);
  invariant(agree(before.memory, after.memory), () => `LM: ${id} changed what an entry holds`);
  if (before.node.role.type !== "leader" || node.role.type !== "leader" || before.node.term !== node.term)
    return;
  for (const [member, { lostAfter }] of progressOf(node)) {
    // No explored disk loses durable entries, so the leader must never conclude that one did.
    invariant(lostAfter === null, () => `DUR: ${id} takes ${member} for a node that lost entries`);
  }
  for (const [member, progress] of progressOf(before.node)) {
    const now = progressOf(node).find(([other]) => other === member)?.[1];
    // A leader may drop its progress of removed members, and of no others.
    const mayForget = now === undefined && !membersOf(configOfHost(after)).includes(member);
    invariant(
      mayForget || progress.match <= (now?.match ?? 0),
      () => `MONO: what ${id} knows of ${member} fell`,
    );
  }
  invariant(before.memory.length <= after.memory.length, () => `LM: leader ${id} removed entries (§5.3)`);
}

/** ES: the durable term never falls, and a durable vote in a term never changes. */
function checkDurableVote(before: Host, after: Host): void {
  const old = before.disk.hardState;
  const { term, votedFor } = after.disk.hardState;
  invariant(old.term <= term, () => `MONO: the durable term of ${after.id} fell from ${old.term} to ${term}`);
  invariant(
    old.term < term || old.votedFor === null || old.votedFor === votedFor,
    () =>
      `ES: ${after.id} voted twice in term ${term}, for ${String(old.votedFor)} and for ${String(votedFor)}`,
  );
}

/**
 * ORD, PBR: the commit index lies within the log, and the entries up to the durable index are on the disk.
 */
function checkOrder({ id, node, memory, disk }: Host): void {
  invariant(node.commitIndex <= memory.length, () => `ORD: ${id} committed past its log`);
  invariant(
    node.durableIndex <= disk.log.length,
    () => `PBR: ${id} believes ${node.durableIndex} durable, which is not stored`,
  );
  const durable = memory.slice(0, node.durableIndex);
  invariant(
    sameEntries(durable, disk.log.slice(0, node.durableIndex)),
    () => `PBR: ${id} believes another entry durable`,
  );
  let before = 0;
  for (const { term } of memory) {
    invariant(before <= term, () => `LM: the terms fall along the log of ${id}`);
    before = term;
  }
}

/**
 * CFG: the core's configurations are those in its log, and each follows from the one before by one step (§6).
 */
function checkConfigs(host: Host): void {
  invariant(
    configsAgree(host),
    () => `CFG: ${host.id} takes for its configurations what its log does not say`,
  );
  const configs = configsIn(host.memory);
  for (const [at, { index, config }] of configs.entries()) {
    const before = configs[at - 1]?.config;
    if (before === undefined) continue;
    // Learners have no vote, so they change in one step, alone or with the voters.
    const old = isJoint(config) ? config.outgoingVoters : config.voters;
    const follows = isJoint(before)
      ? sameConfig(config, { ...before, outgoingVoters: [] })
      : sameConfig({ ...before, voters: old }, before);
    invariant(follows, () => `CFG: ${host.id} has at ${index} a configuration that skips a step`);
  }
}

/** PBR: a message asserts nothing that the sender could lose in a crash (§5.1). */
function checkPersistedBeforeSent({ id, memory }: Host, { to, message }: MessageInTransit, disk: Disk): void {
  const { term, votedFor } = disk.hardState;
  const voted = (name: NodeId): boolean =>
    term > message.term || (term === message.term && votedFor === name);
  invariant(term >= message.term, () => `PBR: ${id} spoke in term ${message.term}, durable is ${term}`);
  if (message.type === "request-vote") {
    invariant(voted(id), () => `PBR: ${id} asked for votes before its own was durable`);
  } else if (message.type === "request-vote-reply" && message.granted) {
    invariant(voted(to), () => `PBR: the vote of ${id} for ${to} left before it was durable`);
  } else if (message.type === "append-entries-reply" && message.outcome.accepted) {
    const { match } = message.outcome;
    const stored = disk.log.slice(0, match);
    invariant(
      stored.length === match && sameEntries(stored, memory.slice(0, match)),
      () => `PBR: ${id} acknowledged up to ${match} before it was durable`,
    );
  }
}

/**
 * Checks the group after the step of one host: ES, CQ, SMS, LC, CFG. Returns the history with what this step
 * adds. `hosts` are all hosts after the step; `at` is the place of the one that took it, `before` what it was
 * before.
 */
export function checkGroup(
  history: GroupHistory,
  hosts: readonly Host[],
  at: number,
  before: Host,
): GroupHistory {
  const host = hosts[at];
  if (host === undefined) return history;
  const leaders = checkLeaders(history, host, before);
  const committed = checkCommitted(history, hosts, host, before);
  checkStepByStep(committed, host);
  if (leaders === history.leaders && committed === history.committed) return history;
  checkLeaderCompleteness(committed, hosts);
  return { leaders, committed };
}

/** ES: at most one node ever leads a term. */
function checkLeaders({ leaders }: GroupHistory, { id, node }: Host, before: Host): GroupHistory["leaders"] {
  if (node.role.type !== "leader") return leaders;
  if (before.node.role.type === "leader" && before.node.term === node.term) return leaders;
  const known = leaders[node.term] ?? null;
  invariant(known === null, () => `ES: term ${node.term} was led by ${String(known)}, and now by ${id}`);
  return Array.from({ length: Math.max(leaders.length, node.term + 1) }, (_, term) =>
    term === node.term ? id : (leaders[term] ?? null),
  );
}

/**
 * SMS, CQ: a committed entry never changes, and the first to commit it is a leader, when a majority of disks
 * has it.
 */
function checkCommitted(
  { committed }: GroupHistory,
  hosts: readonly Host[],
  host: Host,
  before: Host,
): GroupHistory["committed"] {
  const { id, node, memory } = host;
  const ours = memory.slice(0, node.commitIndex);
  const known = committed.slice(0, ours.length);
  invariant(
    sameEntries(known, ours.slice(0, known.length)),
    () => `SMS: ${id} takes for committed what differs from what was committed before`,
  );
  if (ours.length <= committed.length) return committed;
  // A leader that committed its own removal stepped down in this step, so its role before counts.
  const led = before.node.role.type === "leader" && before.node.term === node.term;
  invariant(
    node.role.type === "leader" || led,
    () => `CQ: ${id} commits ${ours.length} before any leader did`,
  );
  invariant(
    ours.at(-1)?.term === node.term,
    () =>
      `CQ: ${id} commits by counting an entry of term ${String(ours.at(-1)?.term)} in term ${node.term} (§5.4.2)`,
  );
  const holding = hosts
    .filter(({ disk }) => sameEntries(disk.log.slice(0, ours.length), ours))
    .map(nameOfHost);
  invariant(
    hasBothMajorities(configAtCommit(host, before), holding),
    () => `CQ: ${id} commits ${ours.length}, which only the disks of ${holding.join(", ")} hold`,
  );
  return [
    ...committed,
    ...ours.slice(committed.length).map((entry) => ({ ...entry, seenInTerm: node.term })),
  ];
}

/**
 * Whether a majority of each set of voters is in `holding`. Counts by itself instead of asking the core,
 * because the core's counting is what is being checked.
 */
function hasBothMajorities({ voters, outgoingVoters }: ClusterConfig, holding: readonly NodeId[]): boolean {
  return [voters, outgoingVoters].every(
    (part) => part.length === 0 || part.filter((id) => holding.includes(id)).length * 2 > part.length,
  );
}

function nameOfHost({ id }: Host): NodeId {
  return id;
}

/**
 * The configuration whose quorums the commit needed: the last one in the log. But a leader that commits
 * C_old,new appends C_new in the same step, so there it is C_old,new.
 */
function configAtCommit({ node, memory }: Host, before: Host): ClusterConfig {
  const configs = configsIn(memory);
  const latest = configs.findLast(({ index }) => index <= node.commitIndex);
  if (latest !== undefined && isJoint(latest.config) && latest.index > before.node.commitIndex)
    return latest.config;
  return configs.at(-1)?.config ?? EMPTY_CONFIG;
}

/** The last configuration in a host's log. */
function configOfHost({ memory }: Host): ClusterConfig {
  return configsIn(memory).at(-1)?.config ?? EMPTY_CONFIG;
}

/** CFG: a leader appends a configuration only when the one before it is committed (§6). */
function checkStepByStep(committed: GroupHistory["committed"], { id, node, memory }: Host): void {
  const before = configsIn(memory).at(-2);
  if (node.role.type !== "leader" || before === undefined) return;
  invariant(
    before.index <= committed.length,
    () => `CFG: ${id} left the configuration at ${before.index} before it was committed`,
  );
}

/** LC: a leader's log holds every entry that was committed in an earlier term. */
function checkLeaderCompleteness(committed: readonly Committed[], hosts: readonly Host[]): void {
  for (const { id, node, memory } of hosts) {
    if (node.role.type !== "leader") continue;
    const holds = (entry: Committed, index: number): boolean =>
      entry.seenInTerm >= node.term || sameEntry(entry, memory[index]);
    invariant(
      committed.every(holds),
      () => `LC: ${id} leads term ${node.term} without all that was committed before`,
    );
  }
}

/**
 * CQ: the entries up to a leader's `match` of a follower are on that follower's disk. A follower in a later
 * term is exempt: this leader can't commit anything with it.
 */
export function checkMatch({ id, node, memory }: Host, follower: Host): void {
  if (node.role.type !== "leader" || follower.disk.hardState.term > node.term) return;
  const match = progressOf(node).find(([member]) => member === follower.id)?.[1].match ?? 0;
  invariant(
    match <= memory.length && sameEntries(follower.disk.log.slice(0, match), memory.slice(0, match)),
    () => `CQ: leader ${id} takes ${follower.id} to hold its log up to ${match}, and it does not`,
  );
}

/** LM: compares the logs of two hosts, in memory and on disk. */
export function checkLogMatching(one: Host, other: Host): void {
  for (const ours of [one.memory, one.disk.log]) {
    for (const theirs of [other.memory, other.disk.log]) {
      invariant(
        agree(ours, theirs),
        () => `LM: the logs of ${one.id} and ${other.id} differ before a position that both hold`,
      );
    }
  }
}

/** LM: whether two logs are equal, payloads included, up to the last position that both hold. */
function agree(a: readonly Entry[], b: readonly Entry[]): boolean {
  let last = Math.min(a.length, b.length);
  while (last > 0 && a[last - 1]?.term !== b[last - 1]?.term) last -= 1;
  return sameEntries(a.slice(0, last), b.slice(0, last));
}

function sameEntries(a: readonly Entry[], b: readonly Entry[]): boolean {
  return a.length === b.length && a.every((entry, at) => sameEntry(entry, b[at]));
}

function sameEntry(a: Entry, b: Entry | undefined): boolean {
  return a.term === b?.term && a.payload === b.payload;
}
