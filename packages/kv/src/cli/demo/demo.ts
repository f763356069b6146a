import { nodeEnvironment } from "keelson";
import { demoNodes, type DemoNode, type NodeExit, type NodeStatus } from "./demo-node.ts";
import type { DemoOptions } from "./demo-options.ts";
import { StartError } from "../../shared/errors.ts";
import { pause } from "../../shared/pause.ts";

/** Milliseconds between two looks at the nodes: while they start, and later. */
const START_POLL_MS = 50;
const POLL_MS = 300;
/** A cluster that has not found a leader after this long will not. */
const START_MS_MAX = 30_000;
/** Looks without an answer after which a node counts as silent: one may be slow for a moment. */
const MISSED_MAX = 3;

/** What is known of a node. */
interface Watched {
  readonly node: DemoNode;
  /** Of the process that last answered; null: it ended. */
  pid: number | null;
  missed: number;
  isSilent: boolean;
}

/** Runs the demonstration until Ctrl-C, and resolves with the exit code. */
export async function demo(options: DemoOptions): Promise<number> {
  const cluster = new Demo(demoNodes(options), (text) => process.stdout.write(`${text}\n`));
  // Nobody may be reading any more, which is no reason to leave the nodes alone.
  process.stdout.on("error", () => undefined);
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
    const reason = error instanceof Error ? error.message : String(error);
    throw new StartError(`cannot use ${data} for data: ${reason}`, { cause: error });
  }
}

/** Resolves at the first signal; calls `onInsisted` at the second. */
function stopRequested(onInsisted: () => void): Promise<void> {
  return new Promise((resolve) => {
    let count = 0;
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      process.on(signal, () => {
        count += 1;
        if (count > 1) onInsisted();
        resolve();
      });
    }
    // A program that started the demonstration with a channel is gone.
    process.once("disconnect", () => {
      resolve();
    });
  });
}

class Demo {
  readonly #watched: readonly Watched[];
  readonly #print: (text: string) => void;
  #leader: { readonly id: string; readonly term: number } | null = null;
  #isStopping = false;
  #isReady = false;
  /** A node that ended before the cluster was ready. */
  #failedStart: DemoNode | null = null;

  constructor(nodes: readonly DemoNode[], print: (text: string) => void) {
    this.#watched = nodes.map((node) => ({ node, pid: null, missed: 0, isSilent: false }));
    this.#print = print;
  }

  /** Resolves when the cluster has a leader that all nodes know. */
  async start(data: string): Promise<void> {
    this.#print(`Keelson: a cluster of ${this.#watched.length} nodes on this machine, data in ${data}`);
    for (const watched of this.#watched) {
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
    const other = this.#watched.map(({ node }) => node).find((node) => node !== leader) ?? leader;
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

  /** Tells what happens to the nodes until then. */
  async watchUntil(end: Promise<void>): Promise<void> {
    const ended = end.then(() => true);
    for (;;) {
      if (await Promise.race([ended, pause(POLL_MS).then(() => false)])) return;
      const statuses = await Promise.all(this.#watched.map((watched) => this.#look(watched)));
      this.#tellLeader(statuses);
    }
  }

  /** Stops the nodes one after another, the leader last, so that no election comes in between. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    const isLeader = ({ node }: Watched): boolean => node.id === this.#leader?.id;
    const inOrder = [...this.#watched].sort((a, b) => Number(isLeader(a)) - Number(isLeader(b)));
    for (const { node, pid } of inOrder) {
      if (node.pid === null && pid === null) continue;
      await node.stop(pid);
      this.#print(`${node.id} stopped`);
    }
  }

  kill(): void {
    for (const { node } of this.#watched) node.kill();
  }

  /** null: someone wants to stop already. */
  async #firstLeader(): Promise<DemoNode | null> {
    const deadline = performance.now() + START_MS_MAX;
    for (;;) {
      if (this.#isStopping) return null;
      const failed = this.#failedStart;
      if (failed !== null) {
        throw new StartError(`${failed.id} did not start: ${failed.lastWords() ?? `see ${failed.logFile}`}`);
      }
      const statuses = await Promise.all(this.#watched.map(({ node }) => ownStatus(node)));
      const leader = statuses.find((status) => status?.role === "leader");
      if (
        leader !== undefined &&
        leader !== null &&
        statuses.every((status) => status?.leader?.id === leader.id)
      ) {
        this.#leader = leader;
        return this.#watched.find(({ node }) => node.id === leader.id)?.node ?? null;
      }
      if (performance.now() > deadline) {
        throw new StartError(
          `no leader after ${START_MS_MAX / 1000} s; the nodes' logs say more: ${this.#watched.map(({ node }) => node.logFile).join(", ")}`,
        );
      }
      await pause(START_POLL_MS);
    }
  }

  #ended(watched: Watched, { pid, how }: NodeExit): void {
    if (this.#isStopping) return;
    if (!this.#isReady) {
      this.#failedStart ??= watched.node;
      return;
    }
    const words = how.startsWith("killed") ? null : watched.node.lastWords();
    this.#tellDeath(watched, pid, words === null ? how : `${how}: ${words}`);
  }

  #tellDeath(watched: Watched, pid: number, how: string): void {
    const { node } = watched;
    watched.pid = null;
    watched.missed = 0;
    watched.isSilent = false;
    this.#print(
      `${node.id} died (process ${pid}, ${how}); start it again in another terminal with:\n  ${node.command}`,
    );
  }

  async #look(watched: Watched): Promise<NodeStatus | null> {
    const { node } = watched;
    const status = await node.status();
    if (status === null) {
      this.#missed(watched);
      return null;
    }
    if (status.pid !== watched.pid) {
      // Not before the end of the old one was told.
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

  /** A node that a person started has no other way to tell us that it ended. */
  #missed(watched: Watched): void {
    if (watched.pid === null || watched.isSilent) return;
    watched.missed += 1;
    if (watched.missed < MISSED_MAX) return;
    if (isRunning(watched.pid)) {
      watched.isSilent = true;
      this.#print(`${watched.node.id} does not answer, though its process ${watched.pid} is there`);
    } else {
      this.#tellDeath(watched, watched.pid, "it is gone");
    }
  }

  #tellLeader(statuses: readonly (NodeStatus | null)[]): void {
    const leaders = statuses
      .filter((status) => status?.role === "leader")
      .filter((status) => status !== null);
    // One that was cut off may believe for a moment longer that it leads.
    const newest = leaders.sort((a, b) => b.term - a.term)[0];
    if (newest === undefined) {
      // During an election there is none for a moment: that is told only if nobody hopes for one.
      const isHopeless = statuses.every((status) => status === null || status.leader === null);
      const running = statuses.filter((status) => status !== null).length;
      if (this.#leader !== null && isHopeless && running * 2 <= statuses.length) {
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

/** null too if another process answers there: then the ports are taken, which ours will say as it ends. */
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
