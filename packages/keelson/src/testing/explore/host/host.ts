// One node of an explored group, and what each event does to it.
import { RaftNode, sameConfig, type NodeId } from "../../../core/index.ts";
import { configsOf, type Bounds } from "../shared/bounds.ts";
import { afterInstall, afterWrite, imageOf } from "./disk.ts";
import { payloadOf, type Entry } from "./entry.ts";
import { LONG_AGO_MS, optionsOf } from "./host-options.ts";
import type { Disk, Host, HostEvent, Step } from "./host-state.ts";
import { normaliseHost } from "./normalise-host.ts";
import { RunningHost } from "./running-host.ts";

/** A node before any event; an initialized one has the first configuration on its disk. */
export function newHost(bounds: Bounds, id: NodeId, initialized: boolean): Host {
  const node = RaftNode.start(optionsOf(bounds, id));
  const log: Entry[] = [];
  if (initialized) {
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
  return normaliseHost(bounds, host);
}

/**
 * Computes a host's step: its state after an event, and the messages that it sends. Throws what the core
 * throws.
 */
export function step(bounds: Bounds, before: Host, event: HostEvent): Step {
  if (event.type === "crash")
    return { host: normaliseHost(bounds, crash(bounds, before, event.steps)), sent: [] };
  if (event.type === "install-crash") {
    const host = restart(bounds, before.id, afterInstall(before.disk, before.wanted), 0);
    return { host: normaliseHost(bounds, host), sent: [] };
  }
  if (event.type === "lease-ends") {
    return { host: { ...before, node: { ...before.node, leaderHeardAt: LONG_AGO_MS } }, sent: [] };
  }
  const running = new RunningHost(
    bounds,
    event.type === "unanswered-heartbeat" ? withoutAnswers(before) : before,
  );
  if (event.type !== "drain") running.input(event);
  if (event.type === "drain" || !bounds.batching) running.drain();
  return { host: normaliseHost(bounds, running.capture()), sent: running.sent };
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
  return restart(bounds, id, disk, bounds.durableMachine ? applied : 0);
}

/** A host that was just restarted from this disk. */
export function restartedHost(bounds: Bounds, id: NodeId, disk: Disk): Host {
  return normaliseHost(bounds, restart(bounds, id, disk, 0));
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

/** Whether the core's configurations are those that its log's entries hold: the last of them is in force (§6). */
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
