// One node of an explored group, and what each event does to it.
import {
  RaftNode,
  sameConfig,
  type ClusterConfig,
  type LogIndex,
  type NodeId,
  type NodeImage,
} from "../../../core/index.ts";
import { configsOf, type Bounds } from "../shared/bounds.ts";
import { afterInstall, afterWrite, imageOf } from "./disk.ts";
import { payloadOf, type Entry } from "./entry.ts";
import { ELECTION_MS, LONG_AGO_MS, optionsOf } from "./host-options.ts";
import type { Disk, Host, HostEvent, RoleImage, Step } from "./host-state.ts";
import { agedModel, startedModel, watchWithModel } from "./model.ts";
import { normaliseHost } from "./normalise-host.ts";
import { RunningHost } from "./running-host.ts";

/** A node before any event; an initialized one has the first configuration on its disk. */
export function newHost(bounds: Bounds, id: NodeId, initialized: boolean): Host {
  const { first } = configsOf(bounds);
  if (initialized && first.learners.length > 0) return newMember(bounds, id, first);
  const node = RaftNode.start(optionsOf(bounds, id));
  const log: Entry[] = [];
  if (initialized) {
    node.createCluster(first.voters, 0);
    const actions = node.takeActions();
    node.handlePersisted(actions.persistId, 0);
    node.takeActions();
    log.push({ term: 1, payload: payloadOf(first) });
  }
  const hardState = { term: node.term, votedFor: node.votedFor };
  const disk = { hardState, log, covered: 0 };
  // It was never restarted, so it can't have heard a leader just before.
  const model = { ...startedModel(bounds, node, null), leaderHeardAt: LONG_AGO_MS };
  return normaliseHost(bounds, { ...restingHost(node, disk), model });
}

/** A member of a cluster whose first configuration has learners; its last leader was heard long ago. */
function newMember(bounds: Bounds, id: NodeId, first: ClusterConfig): Host {
  const log = [{ term: 1, payload: payloadOf(first) }];
  const host = restartedHost(bounds, id, { hardState: { term: 1, votedFor: null }, log, covered: 0 });
  return normaliseHost(bounds, aged(host));
}

/** A host that has its disk, and nothing under way. */
function restingHost(node: RaftNode, disk: Disk): Omit<Host, "model"> {
  return {
    id: node.id,
    node: node.capture(),
    memory: disk.log,
    disk,
    writes: [],
    wanted: null,
    hasUndrainedInput: false,
    reads: [],
  };
}

/**
 * Computes a host's step: its state after an event, and the messages that it sends. Throws what the core
 * throws.
 */
export function step(bounds: Bounds, before: Host, event: HostEvent): Step {
  if (event.type === "crash")
    return { host: normaliseHost(bounds, crash(bounds, before, event.steps)), sent: [] };
  if (event.type === "install-crash") {
    const host = restart(bounds, before.id, afterInstall(before.disk, before.wanted), 0, before);
    return { host: normaliseHost(bounds, host), sent: [] };
  }
  if (event.type === "lease-ends") {
    const past = { leaderHeardAt: LONG_AGO_MS };
    return {
      host: { ...before, node: { ...before.node, ...past }, model: { ...before.model, ...past } },
      sent: [],
    };
  }
  if (event.type === "tick") return { host: normaliseHost(bounds, aged(before)), sent: [] };
  const running = new RunningHost(bounds, prepared(before, event));
  if (event.type !== "drain") running.input(event);
  if (event.type === "drain" || !bounds.batching) running.drain();
  return { host: normaliseHost(bounds, running.capture()), sent: running.sent };
}

/** The host at the moment at which the event happens. */
function prepared(host: Host, event: HostEvent): Host {
  if (event.type === "unanswered-heartbeat") return withoutAnswers(host);
  return event.type === "transfer-expires" ? withLateTransfer(host) : host;
}

/** The host, with the time limit of its transfer of leadership already passed. */
function withLateTransfer(host: Host): Host {
  const { node } = host;
  if (node.role.type !== "leader" || node.role.transfer === null) return host;
  const transfer = { ...node.role.transfer, until: 0 };
  return { ...host, node: { ...node, role: { ...node.role, transfer } } };
}

/**
 * The host when the shortest election timeout has passed. The clock shows 0 again: instead, all times that
 * the host has noted are moved back.
 */
function aged(host: Host): Host {
  const { node, model } = host;
  const { role } = node;
  return {
    ...host,
    node: {
      ...node,
      leaderHeardAt: LONG_AGO_MS,
      electionDeadline: node.electionDeadline === null ? null : 0,
      role: role.type === "leader" ? withOlderLease(role) : role,
    },
    model: agedModel(model),
  };
}

function withOlderLease(role: Extract<RoleImage, { type: "leader" }>): RoleImage {
  const { leaseProbe, leaseFrom } = role;
  return {
    ...role,
    leaseFrom: leaseFrom - ELECTION_MS.min,
    leaseProbe: leaseProbe && { ...leaseProbe, at: leaseProbe.at - ELECTION_MS.min },
  };
}

/** The index at which the host answers a lease read now; null: it doesn't. The model must allow it. */
export function leaseIndexOf(bounds: Bounds, { id, node, model }: Host): LogIndex | null {
  const revived = RaftNode.revive(optionsOf(bounds, id), node);
  watchWithModel(revived, model, () => undefined);
  return revived.leaseIndex(0);
}

/** The same leader, long after the last answer of each follower. */
function withoutAnswers(host: Host): Host {
  const { node } = host;
  if (node.role.type !== "leader") return host;
  const progress = node.role.progress.map(([id, one]) => [id, { ...one, activeAt: LONG_AGO_MS }] as const);
  return { ...host, node: { ...node, role: { ...node.role, progress } } };
}

function crash(bounds: Bounds, before: Host, steps: number): Host {
  let { disk } = before;
  let left = steps;
  for (const write of before.writes) {
    if (left <= 0) break;
    ({ disk, left } = afterWrite(disk, write, left));
  }
  const { id } = before;
  const applied = Math.min(before.node.commitIndex, before.node.durableIndex, disk.log.length);
  return restart(bounds, id, disk, bounds.durableMachine ? applied : 0, before);
}

/** A host that was just restarted from this disk. */
export function restartedHost(bounds: Bounds, id: NodeId, disk: Disk): Host {
  return normaliseHost(bounds, restart(bounds, id, disk, 0, null));
}

function restart(bounds: Bounds, id: NodeId, disk: Disk, commit: number, before: Host | null): Host {
  const options = optionsOf(bounds, id);
  const { hardState, log, covered } = disk;
  const known = Math.max(commit, covered);
  const node =
    log.length === 0 && hardState.term === 0
      ? RaftNode.start(options)
      : RaftNode.restart({ ...options, now: 0, hardState, log: imageOf(disk), commitIndex: known });
  const host = restingHost(node, disk);
  return {
    ...host,
    node: before === null ? host.node : withNumbersOf(before.node, host.node),
    model: startedModel(bounds, node, before?.model ?? null),
  };
}

/**
 * The restarted node counts reads and rounds on from where it stopped. In truth each start begins at a random
 * number, so that an answer to an earlier question isn't taken for one to a later question.
 */
function withNumbersOf({ preVoteRound, reads }: NodeImage, node: NodeImage): NodeImage {
  return { ...node, preVoteRound, reads: { ...node.reads, lastId: reads.lastId } };
}

/**
 * Whether the core's configurations are those that its log's entries hold: the last of them is in force (§6).
 */
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
