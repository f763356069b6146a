/** `keelson demo`: runs three nodes as processes, and prints what happens to them. */
import { nodeEnvironment } from "keelson";
import { demoNodes, type DemoNode, type NodeExit, type NodeStatus } from "./demo-node.ts";
import type { DemoOptions } from "./demo-options.ts";
import { StartError, reasonOf } from "../../shared/errors.ts";
import { pause } from "../../shared/pause.ts";

/** The time between two polls of all nodes: while the cluster starts, and later. */
const START_POLL_MS = 50;
const POLL_MS = 300;
/** If there is no leader after this long, something is wrong: give up. */
const START_MS_MAX = 30_000;
/** A node is reported as silent after this many polls without an answer. One may just be slow. */
const MISSED_MAX = 3;

/** A node with what the demo knows about its process. */
interface WatchedNode {
  readonly node: DemoNode;
  /** The id of the process that was started or last answered. null: it has ended. */
  pid: number | null;
  /** Polls in a row without an answer. */
  missed: number;
  /** It was reported as silent. */
  isSilent: boolean;
}

/** Runs the demo until Ctrl-C. Resolves with the exit code. */
export async function demo(options: DemoOptions): Promise<number> {
  const cluster = new Demo(demoNodes(options), (text) => process.stdout.write(`${text}\n`));
  const signal = stopRequested(() => {
    cluster.kill();
  });
  await makeDirectory(options.data);
  try {
    await Promise.race([cluster.start(options.data), signal]);
    await cluster.watchUntil(signal);
  } finally {
    await cluster.stop();
  }
  return 0;
}

async function makeDirectory(data: string): Promise<void> {
  try {
    await nodeEnvironment().files.makeDirectory(data);
  } catch (error) {
    const reason = reasonOf(error);
    throw new StartError(`cannot use ${data} for data: ${reason}`, { cause: error });
  }
}

/** Resolves at the first signal. Calls `onSecond` at each later one. */
function stopRequested(onSecond: () => void): Promise<void> {
  return new Promise((resolve) => {
    let count = 0;
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      process.on(signal, () => {
        count += 1;
        if (count > 1) onSecond();
        resolve();
      });
    }
    // The parent process opened a channel to us and has ended.
    process.once("disconnect", () => {
      resolve();
    });
  });
}

/** The cluster of the demo. */
class Demo {
  readonly #nodes: readonly WatchedNode[];
  readonly #print: (text: string) => void;
  /** The leader that was last printed. null: none yet, or lost. */
  #leader: { readonly id: string; readonly term: number } | null = null;
  /** `stop` was called: ends of processes are expected. */
  #isStopping = false;
  /** The first leader was found: from now on ends of processes are reported. */
  #isReady = false;
  /** The first node that ended before the cluster was ready. null: none. */
  #failedStart: DemoNode | null = null;

  constructor(nodes: readonly DemoNode[], print: (text: string) => void) {
    this.#nodes = nodes.map((node) => ({ node, pid: null, missed: 0, isSilent: false }));
    this.#print = print;
  }

  /** Starts the nodes. Resolves when all of them know the leader. */
  async start(data: string): Promise<void> {
    this.#print(`Keelson: a cluster of ${this.#nodes.length} nodes on this machine, data in ${data}`);
    for (const watched of this.#nodes) {
      const { node } = watched;
      node.start((exit) => {
        this.#ended(watched, exit);
      });
      watched.pid = node.pid;
      this.#print(
        `  ${node.id}  process ${String(node.pid)}  line ${node.line}  http ${node.http}  raft ${node.raft}`,
      );
    }
    const leader = await this.#firstLeader();
    if (leader === null) return;
    this.#isReady = true;
    this.#print(`ready: the leader is ${leader.id}`);
    const other = this.#nodes.map(({ node }) => node).find((node) => node !== leader) ?? leader;
    const [host, port] = leader.line.split(":");
    this.#print(
      [
        `  nc ${String(host)} ${String(port)}    then type: put 1 bar`,
        `  curl -L -X PUT --data bar http://${other.http}/kv/1`,
        `  curl http://${other.http}/kv/1`,
        `  kill -9 ${String(leader.pid)}    and go on writing; Ctrl-C here stops all`,
      ].join("\n"),
    );
  }

  /** Prints what happens to the nodes, until `end` resolves. */
  async watchUntil(end: Promise<void>): Promise<void> {
    const ended = end.then(() => true);
    for (;;) {
      if (await Promise.race([ended, pause(POLL_MS).then(() => false)])) return;
      const statuses = await Promise.all(this.#nodes.map((watched) => this.#poll(watched)));
      this.#reportLeader(statuses);
    }
  }

  /** Stops the nodes one after another, the leader last, so that no election takes place meanwhile. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    const isLeader = ({ node }: WatchedNode): boolean => node.id === this.#leader?.id;
    const inOrder = [...this.#nodes].sort((a, b) => Number(isLeader(a)) - Number(isLeader(b)));
    for (const { node, pid } of inOrder) {
      if (node.pid === null && pid === null) continue;
      await node.stop(pid);
      this.#print(`${node.id} stopped`);
    }
  }

  /** Kills the nodes that the demo started. */
  kill(): void {
    for (const { node } of this.#nodes) node.kill();
  }

  /**
   * Waits until all nodes know the same leader. null: the demo is to stop already.
   *
   * @throws StartError a node ended, or there is no leader after `START_MS_MAX`
   */
  async #firstLeader(): Promise<DemoNode | null> {
    const deadline = performance.now() + START_MS_MAX;
    for (;;) {
      if (this.#isStopping) return null;
      const failed = this.#failedStart;
      if (failed !== null) {
        throw new StartError(`${failed.id} did not start: ${failed.lastError() ?? `see ${failed.logFile}`}`);
      }
      const statuses = await Promise.all(this.#nodes.map(({ node }) => ownStatus(node)));
      const leader = statuses.find((status) => status?.role === "leader");
      if (
        leader !== undefined &&
        leader !== null &&
        statuses.every((status) => status?.leader?.id === leader.id)
      ) {
        this.#leader = leader;
        return this.#nodes.find(({ node }) => node.id === leader.id)?.node ?? null;
      }
      if (performance.now() > deadline) {
        throw new StartError(
          `no leader after ${START_MS_MAX / 1000} s; the nodes' logs say more: ${this.#nodes.map(({ node }) => node.logFile).join(", ")}`,
        );
      }
      await pause(START_POLL_MS);
    }
  }

  #ended(watched: WatchedNode, { pid, how }: NodeExit): void {
    if (this.#isStopping) return;
    if (!this.#isReady) {
      this.#failedStart ??= watched.node;
      return;
    }
    const error = how.startsWith("killed") ? null : watched.node.lastError();
    this.#reportDeath(watched, pid, error === null ? how : `${how}: ${error}`);
  }

  #reportDeath(watched: WatchedNode, pid: number, how: string): void {
    const { node } = watched;
    watched.pid = null;
    watched.missed = 0;
    watched.isSilent = false;
    this.#print(
      `${node.id} died (process ${pid}, ${how}); start it again in another terminal with:\n  ${node.command}`,
    );
  }

  async #poll(watched: WatchedNode): Promise<NodeStatus | null> {
    const { node } = watched;
    const status = await node.status();
    if (status === null) {
      this.#noteMissed(watched);
      return null;
    }
    if (status.pid !== watched.pid) {
      // A new process answers before the old one's exit was reported here. Report the exit first.
      if (watched.pid !== null && watched.pid === node.pid) return status;
      this.#print(`${node.id} is back (process ${status.pid})`);
    } else if (watched.isSilent) {
      this.#print(`${node.id} answers again (process ${status.pid})`);
    }
    watched.pid = status.pid;
    watched.missed = 0;
    watched.isSilent = false;
    return status;
  }

  /** Notes a poll without an answer. For a process that the user started, only polls show that it ended. */
  #noteMissed(watched: WatchedNode): void {
    if (watched.pid === null || watched.isSilent) return;
    watched.missed += 1;
    if (watched.missed < MISSED_MAX) return;
    if (isRunning(watched.pid)) {
      watched.isSilent = true;
      this.#print(`${watched.node.id} does not answer, though its process ${watched.pid} is there`);
    } else {
      this.#reportDeath(watched, watched.pid, "it is gone");
    }
  }

  #reportLeader(statuses: readonly (NodeStatus | null)[]): void {
    const leaders = statuses
      .filter((status) => status?.role === "leader")
      .filter((status) => status !== null);
    // A leader that was cut off may still believe that it leads. The highest term counts.
    const newest = leaders.sort((a, b) => b.term - a.term)[0];
    if (newest === undefined) {
      // An election leaves the cluster without a leader for a moment. Report that only if there can't be one.
      const isUnknownToAll = statuses.every((status) => status === null || status.leader === null);
      const running = statuses.filter((status) => status !== null).length;
      if (this.#leader !== null && isUnknownToAll && running * 2 <= statuses.length) {
        this.#leader = null;
        this.#print(`no leader: ${running} of ${statuses.length} nodes answer, and a majority is needed`);
      }
      return;
    }
    if (this.#leader !== null && newest.term < this.#leader.term) return;
    if (newest.id !== this.#leader?.id) this.#print(`the leader is ${newest.id} now (term ${newest.term})`);
    this.#leader = newest;
  }
}

/**
 * The status of the process that the demo started. null also if another process answers: then the port is
 * taken, and ours will end with that message.
 */
async function ownStatus(node: DemoNode): Promise<NodeStatus | null> {
  const status = await node.status();
  return status?.pid === node.pid ? status : null;
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
