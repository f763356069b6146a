import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { freePorts } from "./ports.ts";
import { Keelson, run, until } from "./process.ts";

interface Shown {
  readonly leader: { readonly id: string } | null;
  readonly changing: boolean;
  readonly role: string;
  readonly members: readonly { readonly id: string; readonly role: string }[];
}

/** Nodes n1, n2, ... as real processes. The first creates a cluster; others join and leave it. */
export class GrowingCluster {
  readonly directory: string;
  readonly #ports: readonly number[];
  readonly #processes = new Map<string, Keelson>();

  private constructor(directory: string, ports: readonly number[]) {
    this.directory = directory;
    this.#ports = ports;
  }

  /** `nodes`: the most nodes over the cluster's life; each id has ports of its own. */
  static async create(nodes: number): Promise<GrowingCluster> {
    return new GrowingCluster(
      mkdtempSync(path.join(tmpdir(), "keelson-growing-")),
      await freePorts(nodes * 3),
    );
  }

  raft(id: string): string {
    return this.#address(id, 0);
  }

  http(id: string): string {
    return this.#address(id, 1);
  }

  data(id: string): string {
    return path.join(this.directory, id);
  }

  get running(): string[] {
    return [...this.#processes].filter(([, process]) => process.isRunning).map(([id]) => id);
  }

  process(id: string): Keelson {
    const process = this.#processes.get(id);
    if (process === undefined) throw new Error(`${id} was never started`);
    return process;
  }

  start(id: string, ...more: readonly string[]): void {
    const args = [
      "serve",
      "--id",
      id,
      "--data",
      this.data(id),
      "--line",
      this.#address(id, 2),
      "--http",
      this.http(id),
    ];
    this.#processes.set(id, new Keelson([...args, ...more]));
  }

  found(id: string): void {
    this.start(id, "--peers", `${id}=${this.raft(id)}`);
  }

  /** Starts a node that joins the running ones. */
  join(id: string): void {
    const urls = this.running.map((other) => `http://${this.http(other)}`).join(",");
    this.start(id, "--listen", this.raft(id), "--join", urls);
  }

  /** Runs a command with the running nodes as --url. Resolves with its output; rejects if it fails. */
  async command(...args: readonly string[]): Promise<string> {
    const urls = this.running.map((id) => this.http(id)).join(",");
    const { code, stdout, stderr } = await run([...args, "--url", urls]);
    if (code !== 0) throw new Error(`keelson ${args.join(" ")}: ${stderr}`);
    return stdout;
  }

  /** The members as the leader sees them. null: no node leads. */
  async members(): Promise<Shown | null> {
    for (const id of this.running) {
      const shown = await this.#ask(id);
      if (shown?.role === "leader") return shown;
    }
    return null;
  }

  /** Resolves when these are the voters and the only members. */
  async voters(...ids: readonly string[]): Promise<void> {
    await until(
      `the voters are ${ids.join(", ")}\n${this.lastLines()}`,
      async () => {
        const shown = await this.members();
        if (shown === null || shown.changing) return false;
        const found = shown.members.map(({ id, role }) => `${id} ${role}`).sort();
        return (
          found.join() ===
          ids
            .map((id) => `${id} voter`)
            .sort()
            .join()
        );
      },
      40_000,
    );
  }

  async #ask(id: string): Promise<Shown | null> {
    try {
      const response = await fetch(`http://${this.http(id)}/members`, { signal: AbortSignal.timeout(1000) });
      return response.ok ? ((await response.json()) as Shown) : null;
    } catch {
      return null;
    }
  }

  lastLines(count = 4): string {
    return [...this.#processes.values()]
      .map(({ stderr }) => stderr.split("\n").slice(-count).join("\n"))
      .join("\n");
  }

  #address(id: string, which: number): string {
    return `127.0.0.1:${this.#ports[(Number(id.slice(1)) - 1) * 3 + which] ?? 0}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#processes.values()].map((process) => process.kill("SIGKILL")));
    rmSync(this.directory, { recursive: true, force: true });
  }
}
