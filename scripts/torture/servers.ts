import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";

import type { NodeState } from "./fault-quota.ts";
import { HTTP_PORT, LINE_PORT, placeOf, RAFT_PORT, type TestNetwork } from "./network.ts";
import { ServerProcess } from "./server-process.ts";
import { SmallDisk } from "./small-disk.ts";

const STATUS_MS_MAX = 2000;
const POLL_MS = 100;
const LISTING_LIMIT = 1000;

/**
 * Snapshots are so frequent, and so few entries are kept before them, that logs are compacted all the time
 * and a node that was down for some seconds needs a snapshot.
 */
const SNAPSHOT_FLAGS = ["--snapshot-every", "60", "--snapshot-keep", "10"];

/** The parts of `/status` that are used here. */
interface Status {
  readonly id: string;
  readonly role: string;
  readonly term: number;
  readonly leader: { readonly id: string } | null;
  readonly commit: number;
  readonly applied: number;
  readonly last: number;
  /** Whether the configuration is joint. */
  readonly changing: boolean;
  readonly members: readonly { readonly id: string; readonly role: string }[];
}

/** A node of the run. Its id is never used again: the next node on the same place gets another id. */
export interface TestNode {
  readonly id: string;
  readonly process: ServerProcess;
  readonly directory: string;
  state: NodeState;
}

/** The result of a request that doesn't belong to the clients' load. */
export interface AdminAnswer {
  readonly status: number;
  /** The error's code; null: no error. */
  readonly code: string | null;
}

/** All servers of the run. Each place has room for one node at a time. */
export class Servers {
  readonly network: TestNetwork;
  readonly places: readonly string[];
  /** A small file system for the last of the first nodes. A text: the reason why there is none. */
  readonly smallDisk: SmallDisk | string;
  readonly #directory: string;
  readonly #onSurprise: (text: string) => void;
  readonly #nodes = new Map<string, TestNode>();
  /** How many nodes a place has had. */
  readonly #generations = new Map<string, number>();

  /**
   * `ids` are the first members, each on the place with its name; `spare` is the number of further places.
   */
  constructor(
    ids: readonly string[],
    spare: readonly string[],
    network: TestNetwork,
    directory: string,
    mayMount: boolean,
    onSurprise: (text: string) => void,
  ) {
    this.network = network;
    this.places = [...ids, ...spare];
    this.#directory = directory;
    this.#onSurprise = onSurprise;
    mkdirSync(path.join(directory, "logs"), { recursive: true });
    this.smallDisk = mayMount
      ? SmallDisk.mount(path.join(directory, ids.at(-1) ?? ""))
      : "it would stay mounted if the run were killed; it is used with --network namespaces only";
    const peers = ids.map((id) => `${id}=${network.peerAddressOf(id)}`).join(",");
    for (const id of ids) this.#add(id, "member", ["--peers", peers]);
  }

  get nodes(): readonly TestNode[] {
    return [...this.#nodes.values()];
  }

  get processes(): readonly ServerProcess[] {
    return this.nodes.map(({ process }) => process);
  }

  get ids(): string[] {
    return this.nodes.map(({ id }) => id);
  }

  /** The addresses that clients use: of every node with a process, also of joining and leaving nodes. */
  get httpAddresses(): string[] {
    return this.nodes.filter(({ state }) => state !== "lost").map(({ id }) => this.httpOf(id));
  }

  /** All addresses that nodes may ever have. */
  get httpPlaces(): string[] {
    return this.places.map((place) => this.httpOf(place));
  }

  get vacantPlaces(): string[] {
    return this.places.filter((place) => !this.#nodes.has(place));
  }

  httpOf(id: string): string {
    return `${this.network.hostOf(placeOf(id))}:${HTTP_PORT}`;
  }

  node(id: string): TestNode {
    const found = this.#nodes.get(placeOf(id));
    if (found?.id !== id) throw new Error(`there is no node ${id}`);
    return found;
  }

  /** Whether the node still exists, in any state. */
  has(id: string): boolean {
    return this.#nodes.get(placeOf(id))?.id === id;
  }

  process(id: string): ServerProcess {
    return this.node(id).process;
  }

  /** Starts a node with a new id and an empty directory. It asks the running nodes to let it join. */
  join(place: string): TestNode {
    const generation = (this.#generations.get(place) ?? 0) + 1;
    this.#generations.set(place, generation);
    const urls = this.httpPlaces.filter((address) => address !== this.httpOf(place));
    const node = this.#add(`${place}.${generation}`, "joining", [
      ...["--join", urls.map((address) => `http://${address}`).join(",")],
      ...["--advertise", this.network.peerAddressOf(place)],
    ]);
    // The cluster may refuse to let it join.
    node.process.mayStop = true;
    node.process.start();
    return node;
  }

  /** Kills the node, and deletes its disk. */
  async wipe(node: TestNode): Promise<void> {
    node.state = "lost";
    await node.process.kill();
    node.process.retire();
    rmSync(node.directory, { recursive: true, force: true });
  }

  /** Removes a node that is no longer a member; its place becomes vacant. */
  async discard(node: TestNode): Promise<void> {
    if (node.state !== "lost") await node.process.close();
    node.process.retire();
    this.#nodes.delete(placeOf(node.id));
    rmSync(node.directory, { recursive: true, force: true });
  }

  /** The leader of the latest term that any node reports; null: no node reports a leader. */
  async leader(): Promise<string | null> {
    return leaderIn(await this.#statuses())?.id ?? null;
  }

  /**
   * Whether the condition holds for the members that most of the nodes report, without the leaving ones, and
   * these report no joint configuration.
   */
  async mostSay(says: (members: Status["members"]) => boolean): Promise<boolean> {
    const asked = this.nodes.filter(({ state }) => state === "member");
    const statuses = await Promise.all(asked.map((node) => this.#status(node)));
    const agreeing = statuses.filter(
      (status) => status !== null && !status.changing && says(status.members),
    ).length;
    return 2 * agreeing > asked.length;
  }

  /** Members, as most nodes report them, for which the run has no node. */
  async strays(): Promise<string[]> {
    const members = leaderIn(await this.#statuses())?.members ?? [];
    return members.map(({ id }) => id).filter((id) => !this.has(id));
  }

  /** Sends a request to one node; null: no answer came. */
  async ask(
    id: string,
    method: "POST" | "DELETE",
    target: string,
    msMax: number,
    body?: object,
  ): Promise<AdminAnswer | null> {
    try {
      const response = await fetch(`http://${this.httpOf(id)}${target}`, {
        ...{ method, redirect: "manual", signal: AbortSignal.timeout(msMax) },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const answer = (await response.json()) as { error?: { code: string; message: string } };
      if (response.status === 500)
        this.#onSurprise(`${id} answers ${method} ${target} with ${JSON.stringify(answer)}`);
      return { status: response.status, code: answer.error?.code ?? null };
    } catch {
      return null;
    }
  }

  /**
   * Waits until all nodes run, report the same leader and term, report exactly these nodes as members, and
   * have applied the whole log. Resolves with null then, or, when the time is over, with what still differs.
   */
  async converged(msMax: number): Promise<string | null> {
    const deadline = performance.now() + msMax;
    const expected = this.ids.sort().join(" ");
    for (;;) {
      const statuses = await this.#statuses();
      const texts = new Set(statuses.map((status) => (status === null ? "silent" : standingOf(status))));
      const first = statuses[0] ?? null;
      const isOne = texts.size === 1 && first !== null && first.leader !== null && !first.changing;
      if (isOne && votersIn(first).join(" ") === expected) return null;
      if (performance.now() > deadline) {
        return statuses
          .map((status, at) => `${this.ids[at] ?? ""}: ${status === null ? "silent" : standingOf(status)}`)
          .join("; ");
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /** All keys of a node, with their versions. */
  async contents(id: string): Promise<Map<string, number>> {
    const found = new Map<string, number>();
    let next: string | null = `/kv?limit=${LISTING_LIMIT}&consistency=stale`;
    while (next !== null) {
      const response = await fetch(`http://${this.httpOf(id)}${next}`, {
        signal: AbortSignal.timeout(10_000),
      });
      if (!response.ok) throw new Error(`${id} answers a listing with ${response.status}`);
      const page = (await response.json()) as {
        keys: { key: string; version: number }[];
        next: string | null;
      };
      for (const { key, version } of page.keys) found.set(key, version);
      next = page.next;
    }
    return found;
  }

  /** How many lines in the logs of all nodes, past and present, contain these words. */
  countInLogs(words: string): number {
    const logs = path.join(this.#directory, "logs");
    return readdirSync(logs)
      .map((name) => readFileSync(path.join(logs, name), "utf8").split(words).length - 1)
      .reduce((sum, count) => sum + count, 0);
  }

  #add(id: string, state: NodeState, which: readonly string[]): TestNode {
    const place = placeOf(id);
    const host = this.network.hostOf(place);
    const directory = path.join(this.#directory, place, id);
    const args = [
      ...["--id", id, "--data", directory, ...which],
      ...["--listen", `${host}:${RAFT_PORT}`, "--line", `${host}:${LINE_PORT}`],
      // The operator's requests come from another network namespace, as from another machine.
      ...["--http", `${host}:${HTTP_PORT}`, "--admin-open", ...SNAPSHOT_FLAGS],
    ];
    mkdirSync(path.dirname(directory), { recursive: true });
    const log = path.join(this.#directory, "logs", `${id}.log`);
    const process = new ServerProcess(id, this.network.prefixOf(place), args, log, this.#onSurprise);
    const node = { id, process, directory, state };
    this.#nodes.set(place, node);
    return node;
  }

  #statuses(): Promise<(Status | null)[]> {
    return Promise.all(this.nodes.map((node) => this.#status(node)));
  }

  async #status({ id, process: { isRunning, isPaused } }: TestNode): Promise<Status | null> {
    if (!isRunning || isPaused) return null;
    try {
      const response = await fetch(`http://${this.httpOf(id)}/status`, {
        signal: AbortSignal.timeout(STATUS_MS_MAX),
      });
      return response.ok ? ((await response.json()) as Status) : null;
    } catch {
      return null;
    }
  }
}

function leaderIn(statuses: readonly (Status | null)[]): Status | null {
  const leaders = statuses.filter((status) => status?.role === "leader");
  return leaders.sort((a, b) => (b?.term ?? 0) - (a?.term ?? 0))[0] ?? null;
}

function votersIn({ members }: Status): string[] {
  return members
    .filter(({ role }) => role === "voter")
    .map(({ id }) => id)
    .sort();
}

function standingOf(status: Status): string {
  const { term, leader, commit, applied, last, changing } = status;
  const state =
    applied === last && commit === last
      ? `applied all ${last}`
      : `commit ${commit}, applied ${applied}, last ${last}`;
  const members = `${changing ? "changing " : ""}voters ${votersIn(status).join(" ")}`;
  return `term ${term}, leader ${leader?.id ?? "none"}, ${members}, ${state}`;
}
