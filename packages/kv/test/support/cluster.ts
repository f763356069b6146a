import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { freePorts } from "./ports.ts";
import { Keelson, until } from "./process.ts";
import type { ProxyNetwork } from "./proxy.ts";

/** What tests use of `GET /status`. */
export interface Status {
  readonly id: string;
  readonly role: string;
  readonly term: number;
  readonly leader: { readonly id: string; readonly line?: string; readonly http?: string } | null;
  readonly commit: number;
  readonly applied: number;
  readonly last: number;
}

interface Node {
  readonly id: string;
  readonly line: string;
  readonly http: string;
  /** Where it listens for other nodes. */
  readonly raft: string;
  readonly args: readonly string[];
  process: Keelson | null;
}

export interface ClusterOptions {
  /** Proxies between the nodes. Default: none. */
  readonly network?: ProxyNetwork;
  /** Further flags of `serve` for a node. `directory`: of the cluster, for files. Default: none. */
  readonly flags?: (id: string, directory: string) => readonly string[];
}

/** Three nodes as real processes on real disks. */
export class Cluster {
  readonly directory: string;
  readonly nodes: readonly Node[];

  private constructor(directory: string, nodes: readonly Node[]) {
    this.directory = directory;
    this.nodes = nodes;
  }

  static async create({ network, flags = () => [] }: ClusterOptions = {}): Promise<Cluster> {
    const directory = mkdtempSync(path.join(tmpdir(), "keelson-cluster-"));
    const ports = await freePorts(12);
    const ids = ["n1", "n2", "n3"];
    const at = (place: number): string => `127.0.0.1:${ports[place] ?? 0}`;
    const peers: string[] = [];
    for (const [place, id] of ids.entries()) {
      // A node's handshake contains its client addresses. The line address identifies it to the proxy.
      const address = await network?.add(id, at(3 + place), at(place), ports[9 + place] ?? 0);
      peers.push(`${id}=${address ?? at(place)}`);
    }
    const nodes = ids.map((id, place) => {
      const [line, http] = [at(3 + place), at(6 + place)];
      const data = path.join(directory, id);
      const args = [
        ...["serve", "--id", id, "--peers", peers.join(","), "--data", data],
        ...["--line", line, "--http", http, "--listen", at(place), ...flags(id, directory)],
      ];
      return { id, line, http, raft: at(place), args, process: null };
    });
    return new Cluster(directory, nodes);
  }

  get httpAddresses(): string[] {
    return this.nodes.map(({ http }) => http);
  }

  node(id: string): Node {
    const found = this.nodes.find((node) => node.id === id);
    if (found === undefined) throw new Error(`no node ${id}`);
    return found;
  }

  start(id: string): void {
    const node = this.node(id);
    node.process = new Keelson(node.args);
  }

  /** Starts all nodes. Resolves when each knows the leader. */
  async startAll(): Promise<Status> {
    for (const { id } of this.nodes) this.start(id);
    return this.leader(this.nodes.length);
  }

  /** The node's status. null: it doesn't answer. */
  async status(id: string): Promise<Status | null> {
    try {
      const response = await fetch(`http://${this.node(id).http}/status`, {
        signal: AbortSignal.timeout(1000),
      });
      return response.ok ? ((await response.json()) as Status) : null;
    } catch {
      return null;
    }
  }

  /** Resolves with the leader when this many nodes agree on it. */
  async leader(agreeing = 2): Promise<Status> {
    let leader: Status | undefined;
    await until(`${agreeing} nodes agree on a leader\n${this.lastLines()}`, async () => {
      const statuses = (await Promise.all(this.nodes.map(({ id }) => this.status(id)))).filter(
        (status) => status !== null,
      );
      leader = statuses
        .filter(({ role, id, term }) => {
          const followers = statuses.filter((other) => other.leader?.id === id && other.term === term);
          return role === "leader" && followers.length >= agreeing;
        })
        .sort((a, b) => b.term - a.term)[0];
      return leader !== undefined;
    });
    if (leader === undefined) throw new Error("no leader");
    return leader;
  }

  /** Resolves when the node has applied what was committed at the time of the call. */
  async caughtUp(id: string): Promise<void> {
    const { commit } = await this.leader();
    await until(`${id} has applied ${commit}`, async () => ((await this.status(id))?.applied ?? 0) >= commit);
  }

  async kill(id: string, signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    await this.node(id).process?.kill(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.nodes.map(({ id }) => this.kill(id)));
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** The last lines that each node logged, for messages of failed tests. */
  lastLines(count = 4): string {
    return this.nodes
      .map(({ process }) => process?.stderr.split("\n").slice(-count).join("\n") ?? "")
      .join("\n");
  }
}
