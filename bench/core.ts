/**
 * Measures the core alone: commands that three nodes in one thread commit per second of user CPU, without
 * payloads, disks or sockets. Each batch is proposed one command at a time and is committed before the next
 * begins.
 *
 *   npm run bench:core -- [--batches 1,16,256,1024] [--seconds 1] [--rounds 5]
 *                         [--against DIRECTORY] [--noraft] [--cache DIRECTORY]
 *
 * `--against` names another checkout of this repository; `--noraft` builds noraft, which needs cargo and
 * Linux, and drives it in the same way. All are measured in turn (A B A B ...), each in a process of its own,
 * and the ratio of the medians is printed: the machine's speed may drift, the ratio does not.
 */
import { execFileSync } from "node:child_process";
import path from "node:path";
import { parseArgs } from "node:util";

import type { AddressedMessage, LogPosition, NodeId, RaftNode } from "keelson/core";

import { build, cacheFolder } from "./lib/peer-builds.ts";

const CORE = "packages/keelson/src/core/index.ts";
const IDS = ["a", "b", "c"];

/** The first part of each measurement, which lets the JIT compiler settle and is not counted. */
const WARM_UP_MS = 300;

/** How many batches are committed between two looks at the clock, which is a system call. */
const BATCHES_PER_LOOK = 64;

/** The time limit of an election. A cluster that needs longer is broken. */
const ELECTION_MS_MAX = 60_000;

/** One node, and whether it had an input since its actions were last taken. */
interface Member {
  readonly node: RaftNode;
  isDue: boolean;
}

/** Three nodes, a network that delivers at once and a disk that is durable at once. */
class Group {
  readonly #members: readonly Member[];
  readonly #byId: ReadonlyMap<NodeId, Member>;
  /** Messages on their way. */
  #inbox: AddressedMessage[] = [];
  /** Simulated milliseconds: elections need time to pass, replication does not. */
  #now = 0;

  constructor(start: typeof RaftNode.start) {
    let seed = 1;
    const random = (): number => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed / 2_147_483_647;
    };
    this.#members = IDS.map((id) => ({ node: start({ id, random }), isDue: true }));
    this.#byId = new Map(this.#members.map((member) => [member.node.id, member]));
  }

  /** Elects a leader, and returns the only member that takes commands. */
  elect(): Member {
    for (const { node } of this.#members) node.createCluster(IDS, this.#now);
    while (this.#now < ELECTION_MS_MAX) {
      this.#now += 10;
      for (const member of this.#members) {
        member.node.handleTimeout(this.#now);
        member.isDue = true;
      }
      this.settle();
      const leader = this.#members.find(({ node }) => node.termStartCommitted);
      if (leader !== undefined) return leader;
    }
    throw new Error("no leader was elected");
  }

  /** Proposes `count` commands one by one; returns the position of the last. */
  propose(leader: Member, count: number): LogPosition {
    let position: LogPosition | null = null;
    for (let done = 0; done < count; done++) position = leader.node.proposeCommand(this.#now);
    if (position === null) throw new Error("the leader took no commands");
    leader.isDue = true;
    return position;
  }

  /** Carries out what each node with new input wants done, until nothing is left to do. */
  settle(): void {
    for (let isBusy = true; isBusy;) {
      isBusy = false;
      for (const member of this.#members) {
        if (!member.isDue) continue;
        isBusy = true;
        this.#carryOut(member);
      }
      this.#deliver();
    }
  }

  #carryOut(member: Member): void {
    const { node } = member;
    const actions = node.takeActions();
    for (const message of actions.messages) this.#inbox.push(message);
    member.isDue = actions.needsPersist;
    if (!actions.needsPersist) return;
    node.handlePersisted(actions.persistId, this.#now);
    for (const message of actions.messagesAfterPersist) this.#inbox.push(message);
  }

  #deliver(): void {
    if (this.#inbox.length === 0) return;
    const arrived = this.#inbox;
    this.#inbox = [];
    for (const { to, message } of arrived) {
      const member = this.#byId.get(to);
      if (member === undefined) throw new Error(`a message to ${to}, which is no member`);
      member.node.handleMessage(message, this.#now);
      member.isDue = true;
    }
  }
}

const [mode, checkout = "", batchText = "", msText = ""] = process.argv.slice(2);
if (mode === "measure") console.log(await measure(checkout, Number(batchText), Number(msText)));
else main();

/** Commands per second of user CPU, counted after a warm-up. For a process of its own. */
async function measure(root: string, batch: number, ms: number): Promise<number> {
  const core = (await import(path.join(root, CORE))) as { RaftNode: typeof RaftNode };
  const group = new Group((options) => core.RaftNode.start(options));
  const leader = group.elect();
  run(group, leader, batch, WARM_UP_MS);
  const began = cpuMs();
  const commands = run(group, leader, batch, ms);
  return Math.round((commands * 1000) / (cpuMs() - began));
}

function run(group: Group, leader: Member, batch: number, ms: number): number {
  const until = cpuMs() + ms;
  let commands = 0;
  do {
    for (let done = 0; done < BATCHES_PER_LOOK; done++) {
      const position = group.propose(leader, batch);
      group.settle();
      if (leader.node.commitStatus(position) !== "committed") throw new Error("a batch was not committed");
    }
    commands += BATCHES_PER_LOOK * batch;
  } while (cpuMs() < until);
  return commands;
}

/** The user CPU of this process, with the threads that compile and collect garbage. */
function cpuMs(): number {
  return process.cpuUsage().user / 1000;
}

/** What is measured: a name, and the program that prints the commands per second. */
interface Subject {
  readonly name: string;
  readonly program: string;
  readonly argumentsOf: (batch: string, ms: string) => readonly string[];
}

function checkoutAt(name: string, root: string): Subject {
  const argumentsOf = (batch: string, ms: string): string[] => [
    import.meta.filename,
    "measure",
    root,
    batch,
    ms,
  ];
  return { name, program: process.execPath, argumentsOf };
}

function main(): void {
  const { values } = parseArgs({
    options: {
      batches: { type: "string", default: "1,16,256,1024" },
      seconds: { type: "string", default: "1" },
      rounds: { type: "string", default: "5" },
      against: { type: "string" },
      noraft: { type: "boolean", default: false },
      cache: { type: "string" },
    },
  });
  const subjects = [checkoutAt("Keelson", path.join(import.meta.dirname, ".."))];
  if (values.against !== undefined) subjects.push(checkoutAt(values.against, path.resolve(values.against)));
  const noraft = values.noraft ? build({ peer: "noraft", target: "." }, cacheFolder(values.cache)) : null;
  if (noraft !== null)
    subjects.push({ name: "noraft", program: noraft, argumentsOf: (batch, ms) => [batch, ms] });
  const ms = String(Number(values.seconds) * 1000);
  for (const batch of values.batches.split(",")) {
    const figures = subjects.map((): number[] => []);
    for (let round = 0; round < Number(values.rounds); round++) {
      subjects.forEach(({ program, argumentsOf }, at) => {
        const output = execFileSync(program, argumentsOf(batch, ms), { encoding: "utf8" });
        figures[at]?.push(Number(output));
      });
    }
    console.log(`batches of ${batch.padStart(5)}: ${describe(subjects, figures)}`);
  }
}

/** The medians with their spread, and our median divided by each of the others. */
function describe(subjects: readonly Subject[], figures: readonly (readonly number[])[]): string {
  const millions = (value: number): string => (value / 1e6).toFixed(3);
  const ours = medianOf(figures[0] ?? []);
  return subjects
    .map(({ name }, at) => {
      const all = figures[at] ?? [];
      const median = medianOf(all);
      const spread = `${millions(Math.min(...all))} to ${millions(Math.max(...all))}`;
      const ratio = at === 0 ? "" : `, ratio ${(ours / median).toFixed(2)}`;
      return `${name} ${millions(median)} M/s (${spread})${ratio}`;
    })
    .join("; ");
}

function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}
