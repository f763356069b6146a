import { describe, expect, it } from "vitest";

import { CoreGroup } from "../testing/core/core-group.ts";
import type { CoreHost } from "../testing/core/core-host.ts";
import { configOf, type NodeId } from "./index.ts";

interface Change {
  readonly from: readonly NodeId[];
  readonly to: readonly NodeId[];
}

/**
 * Each leaves a majority of both configurations without the leader, so that the others can continue alone.
 */
const CHANGES: Readonly<Record<string, Change>> = {
  "adds a voter": { from: ["a", "b", "c"], to: ["a", "b", "c", "d"] },
  "removes a voter": { from: ["a", "b", "c", "d"], to: ["a", "b", "c"] },
  "removes the leader": { from: ["a", "b", "c", "d"], to: ["b", "c", "d"] },
  "replaces all": { from: ["a", "b", "c"], to: ["d", "e", "f"] },
};

/**
 * In which order things happen: messages arrive first, or writes become durable first, or the messages of
 * joining nodes arrive first.
 */
const ORDERS = ["messages first", "disks first", "joiners first"] as const;
type Order = (typeof ORDERS)[number];

/**
 * What a crash of the leader does to its unsynced writes and to its messages under way, and whether the
 * leader restarts.
 */
interface Crash {
  readonly kept: boolean;
  readonly restarts: boolean;
}

const CRASHES: readonly Crash[] = [
  { kept: false, restarts: false },
  { kept: true, restarts: true },
  { kept: false, restarts: true },
  { kept: true, restarts: false },
];

/** Every kind of crash in the first order; in the others only the two that differ most, to save time. */
function crashesIn(order: Order): readonly Crash[] {
  return order === ORDERS[0] ? CRASHES : CRASHES.slice(0, 2);
}

/** Far more steps than any of these changes takes. */
const STEPS_MAX = 500;
/** Far more time than elections without faults and the completion of the change take. */
const RECOVERY_MS = 16_000;

/** The change has just been proposed, and no message about it has left the leader. */
function begin({ from, to }: Change): CoreGroup {
  const group = CoreGroup.started(from);
  for (const id of to) if (!from.includes(id)) group.add(id);
  group.write("a", "before");
  group.heartbeat();
  group.proposeConfig("a", to);
  group.drain(group.host("a"));
  return group;
}

/** Delivers one message, or makes one write durable; false: nothing is left to do. */
function step(group: CoreGroup, order: Order, { from }: Change): boolean {
  const joins = (id: NodeId): boolean => order === "joiners first" && !from.includes(id);
  const writing = group.running.filter(({ pendingWrites }) => pendingWrites > 0);
  const host = writing.find(({ id }) => joins(id)) ?? writing[0];
  const diskFirst = order === "disks first" || group.inTransit.length === 0;
  if (host !== undefined && (diskFirst || joins(host.id))) {
    group.persistOne(host);
    return true;
  }
  const first = group.inTransit.findIndex(({ message, to }) => joins(to) || joins(message.from));
  const [sent] = group.inTransit.splice(Math.max(first, 0), 1);
  if (sent === undefined) return false;
  group.deliver(sent);
  return true;
}

/** How many steps there are from the proposal until the change is complete and nothing is left to do. */
function stepsOf(change: Change, order: Order): number {
  const group = begin(change);
  let steps = 0;
  while (step(group, order, change)) {
    steps += 1;
    expect(steps).toBeLessThan(STEPS_MAX);
  }
  const [leader = ""] = group.leaders;
  expect(group.node(leader).config).toEqual(configOf(change.to));
  return steps;
}

function crashLeader(group: CoreGroup, { kept }: Crash): void {
  const leader = group.leaders[0] ?? "a";
  const { pendingWrites } = group.host(leader);
  if (!kept) group.inTransit = group.inTransit.filter(({ message }) => message.from !== leader);
  group.crash(leader, { whole: kept ? pendingWrites : 0, entries: null });
}

/** The leader of a group whose change has ended, in the old or the new configuration. */
function settled(group: CoreGroup, change: Change): CoreHost | null {
  const [leader, ...others] = group.leaders;
  if (leader === undefined || others.length > 0) return null;
  const host = group.host(leader);
  const { config, termStartCommitted } = host.node;
  const isEnd =
    config.outgoingVoters.length === 0 && [change.from, change.to].some((end) => isSame(end, config.voters));
  return termStartCommitted && isEnd && host.node.log.configAt(host.node.commitIndex).config === config
    ? host
    : null;
}

function isSame(a: readonly NodeId[], b: readonly NodeId[]): boolean {
  return a.join() === b.join();
}

/**
 * Begins the change, crashes the leader after so many steps, and runs the group until it is done; returns
 * "old" or "new": the configuration in force in the end.
 */
function runCrash(change: Change, order: Order, steps: number, crash: Crash): "old" | "new" {
  const group = begin(change);
  for (let n = 0; n < steps; n++) step(group, order, change);
  const crashed = group.leaders[0] ?? "a";
  crashLeader(group, crash);
  if (crash.restarts) group.restart(crashed);
  const deadline = group.now + RECOVERY_MS;
  group.settle();
  while (settled(group, change) === null && group.now < deadline) group.advance(200);
  const leader = settled(group, change);
  if (leader === null) throw new Error(`no leader of a simple configuration: ${describeGroup(group)}`);
  const position = group.write(leader.id, "after");
  expect(leader.node.commitStatus(position)).toBe("committed");
  // The log holds the old configuration, and then both steps of the change exactly once, or neither.
  const { from, to } = change;
  const old = [configOf(from)];
  const done = [...old, { ...configOf(to), outgoingVoters: [...from] }, configOf(to)];
  const configs = leader.memory.flatMap(({ config }) => (config === null ? [] : [config]));
  expect(configs).toEqual(configs.length === 1 ? old : done);
  expect(group.payloads(leader.id).filter((text) => text !== "")).toEqual(["before", "after"]);
  return configs.length === 1 ? "old" : "new";
}

function describeGroup(group: CoreGroup): string {
  return group.running
    .map(({ id, node }) => `${id} ${node.role} ${node.term} ${JSON.stringify(node.config)}`)
    .join("; ");
}

describe("a change of membership whose leader crashes at each of its steps [M3]", () => {
  it.each(Object.entries(CHANGES))(
    "ends in the old or the new configuration, and the group continues: %s",
    (_, change) => {
      const outcomes = { old: 0, new: 0 };
      for (const order of ORDERS) {
        const steps = stepsOf(change, order);
        for (let at = 0; at <= steps; at++) {
          for (const crash of crashesIn(order)) {
            try {
              outcomes[runCrash(change, order, at, crash)] += 1;
            } catch (error) {
              const how = `${order}, after ${at} steps, ${JSON.stringify(crash)}`;
              throw new Error(`${how}: ${error instanceof Error ? error.message : String(error)}`, {
                cause: error,
              });
            }
          }
        }
      }
      expect(outcomes.old).toBeGreaterThan(0);
      expect(outcomes.new).toBeGreaterThan(outcomes.old);
    },
    120_000,
  );
});
