/**
 * Measures the core alone: commands per second that three nodes in one thread commit, without payloads, disks
 * or sockets. Each batch is proposed one command at a time and is committed on all three nodes before the
 * next begins.
 *
 *   npm run bench:core -- [--batches 1,16,256,1024] [--seconds 1] [--rounds 5] [--against DIRECTORY]
 *
 * `--against` names another checkout of this repository. Both are then measured in turn (A B A B ...), each
 * in a process of its own, and the ratio of the medians is printed: the machine's speed may drift, the ratio
 * does not.
 */
import { execFileSync } from "node:child_process";
import path from "node:path";
import { parseArgs } from "node:util";

import type { LogPosition, Message, NodeId, RaftNode } from "keelson/core";

const CORE = "packages/keelson/src/core/index.ts";
const IDS = ["a", "b", "c"];

/** The first part of each measurement, which lets the JIT compiler settle and is not counted. */
const WARM_UP_MS = 300;

/** The time limit of an election. A cluster that needs longer is broken. */
const ELECTION_MS_MAX = 60_000;

/** Three nodes, a network that delivers at once and a disk that is durable at once. */
class Group {
  readonly #nodes: Map<NodeId, RaftNode>;
  readonly #inbox: { to: NodeId; message: Message }[] = [];
  /** Simulated milliseconds: elections need time to pass, replication does not. */
  #now = 0;

  constructor(start: typeof RaftNode.start) {
    let seed = 1;
    const random = (): number => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed / 2_147_483_647;
    };
    this.#nodes = new Map(IDS.map((id) => [id, start({ id, random })]));
  }

  elect(): RaftNode {
    for (const node of this.#nodes.values()) node.createCluster(IDS, this.#now);
    while (this.#now < ELECTION_MS_MAX) {
      this.#now += 10;
      for (const node of this.#nodes.values()) node.handleTimeout(this.#now);
      this.settle();
      const leader = [...this.#nodes.values()].find((node) => node.termStartCommitted);
      if (leader !== undefined) return leader;
    }
    throw new Error("no leader was elected");
  }

  /** Proposes `count` commands one by one; returns the position of the last. */
  propose(leader: RaftNode, count: number): LogPosition {
    let position: LogPosition | null = null;
    for (let done = 0; done < count; done++) position = leader.proposeCommand(this.#now);
    if (position === null) throw new Error("the leader took no commands");
    return position;
  }

  /** Takes every node's actions and delivers every message, until nothing is left to do. */
  settle(): void {
    for (let isBusy = true; isBusy;) {
      isBusy = false;
      for (const node of this.#nodes.values()) {
        const actions = node.takeActions();
        for (const message of actions.messages) this.#inbox.push(message);
        if (!actions.needsPersist) continue;
        node.handlePersisted(actions.persistId, this.#now);
        for (const message of actions.messagesAfterPersist) this.#inbox.push(message);
        isBusy = true;
      }
      for (const { to, message } of this.#inbox.splice(0)) {
        this.#nodes.get(to)?.handleMessage(message, this.#now);
        isBusy = true;
      }
    }
  }
}

const [mode, checkout = "", batchText = "", msText = ""] = process.argv.slice(2);
if (mode === "measure") console.log(await measure(checkout, Number(batchText), Number(msText)));
else main();

/** Commands per second, counted after a warm-up. For a process of its own. */
async function measure(root: string, batch: number, ms: number): Promise<number> {
  const core = (await import(path.join(root, CORE))) as { RaftNode: typeof RaftNode };
  const group = new Group((options) => core.RaftNode.start(options));
  const leader = group.elect();
  run(group, leader, batch, WARM_UP_MS);
  const began = performance.now();
  const commands = run(group, leader, batch, ms);
  return Math.round((commands * 1000) / (performance.now() - began));
}

function run(group: Group, leader: RaftNode, batch: number, ms: number): number {
  const until = performance.now() + ms;
  let commands = 0;
  do {
    const position = group.propose(leader, batch);
    group.settle();
    if (leader.commitStatus(position) !== "committed") throw new Error("a batch was not committed");
    commands += batch;
  } while (performance.now() < until);
  return commands;
}

function main(): void {
  const { values } = parseArgs({
    options: {
      batches: { type: "string", default: "1,16,256,1024" },
      seconds: { type: "string", default: "1" },
      rounds: { type: "string", default: "5" },
      against: { type: "string" },
    },
  });
  const here = path.join(import.meta.dirname, "..");
  const checkouts = values.against === undefined ? [here] : [here, path.resolve(values.against)];
  const ms = Number(values.seconds) * 1000;
  for (const batch of values.batches.split(",")) {
    const figures = checkouts.map((): number[] => []);
    for (let round = 0; round < Number(values.rounds); round++) {
      checkouts.forEach((root, at) => {
        const args = ["measure", root, batch, String(ms)];
        const output = execFileSync(process.execPath, [import.meta.filename, ...args], { encoding: "utf8" });
        figures[at]?.push(Number(output));
      });
    }
    console.log(`batches of ${batch.padStart(5)}: ${describe(figures)}`);
  }
}

function describe(figures: readonly (readonly number[])[]): string {
  const medians = figures.map(medianOf);
  const [ours = 0, theirs] = medians;
  const text = figures
    .map((all, at) => {
      const millions = (value: number): string => (value / 1e6).toFixed(3);
      return `${millions(medians[at] ?? 0)} M/s (${millions(Math.min(...all))} to ${millions(Math.max(...all))})`;
    })
    .join(" against ");
  return theirs === undefined ? text : `${text}, ratio ${(ours / theirs).toFixed(3)}`;
}

function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}
