import { execFile, spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";

import { RAFT_PORT, type Link, type LinkCondition, type TestNetwork } from "./network.ts";

/** The environment variable that tells the process that it runs inside the namespaces. */
const INSIDE = "KEELSON_TORTURE_INSIDE";

/**
 * Namespaces for network, mounts and processes. When the run ends, in whatever way, the kernel removes
 * everything in them.
 */
const UNSHARE = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];

export function isInside(): boolean {
  return process.env[INSIDE] === "1";
}

/** The reason why namespaces can't be used here, in one line; null: they can. */
export function namespacesRefusal(): string | null {
  if (process.platform !== "linux") return "network namespaces are Linux's";
  const probe = spawnSync(
    "unshare",
    [
      ...UNSHARE,
      "sh",
      "-c",
      "ip link add va type veth peer name vb && tc qdisc add dev va root tbf rate 1mbit burst 9kb limit 9kb && nsenter --version",
    ],
    { encoding: "utf8" },
  );
  if (probe.error !== undefined) return probe.error.message;
  return probe.status === 0 ? null : (probe.stderr.trim().split("\n")[0] ?? "unshare failed");
}

/** Runs this command again inside new namespaces, and resolves with its exit code. */
export async function runInside(script: string, args: readonly string[]): Promise<number> {
  const command = [...UNSHARE, process.execPath, ...process.execArgv, script, ...args];
  const child = spawn("unshare", command, {
    stdio: ["inherit", "inherit", "inherit", "ipc"],
    env: { ...process.env, [INSIDE]: "1" },
  });
  // `unshare` ignores these signals. The process inside notices that this one has ended, and ends in order.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      if (child.connected) child.disconnect();
    });
  }
  const [code] = (await once(child, "exit")) as [number | null];
  return code ?? 1;
}

/** Room for a burst in a slow link: a few packets. */
const SLOW_BURST_BYTES = 6000;

/**
 * Puts each node into a network namespace, with a virtual cable to each other node and to the clients. The
 * condition of a cable is set at its sending end, so each direction has its own.
 */
export class NamespaceNetwork implements TestNetwork {
  readonly conditions = ["cut", "slow"] as const;
  readonly #ids: readonly string[];
  /** Processes that keep the namespaces alive while nodes start and stop. */
  readonly #holders = new Map<string, ChildProcess>();
  readonly #hasNetem: boolean;

  private constructor(ids: readonly string[], hasNetem: boolean) {
    this.#ids = ids;
    this.#hasNetem = hasNetem;
  }

  get description(): string {
    return this.#hasNetem
      ? "a network namespace for each node: cables lose everything (cut), or delay and lose some (netem)"
      : "a network namespace for each node: cables lose everything (cut), or are so narrow that packets queue and get lost " +
          "(tbf; this kernel has no netem to delay by a given time)";
  }

  static async create(ids: readonly string[]): Promise<NamespaceNetwork> {
    await run("ip", ["link", "set", "lo", "up"]);
    await run("ip", ["link", "add", "probe", "type", "veth", "peer", "name", "eborp"]);
    const netem = await run("tc", ["qdisc", "add", "dev", "probe", "root", "netem", "delay", "1ms"]).then(
      () => true,
      () => false,
    );
    await run("ip", ["link", "del", "probe"]);
    const network = new NamespaceNetwork(ids, netem);
    for (const id of ids) await network.#addNode(id);
    for (const [at, id] of ids.entries()) {
      for (const other of ids.slice(at + 1)) await network.#addCable(id, other);
    }
    return network;
  }

  hostOf(id: string): string {
    return `10.77.0.${this.#ids.indexOf(id) + 1}`;
  }

  peerAddressOf(id: string): string {
    return `${this.hostOf(id)}:${RAFT_PORT}`;
  }

  prefixOf(id: string): readonly string[] {
    return ["nsenter", "--target", String(this.#pidOf(id)), "--net", "--"];
  }

  async set(links: readonly Link[], condition: LinkCondition): Promise<void> {
    await this.#configure(
      links,
      (link) => `qdisc replace dev ${this.#cable(link.to)} root ${this.#discipline(condition)}`,
    );
  }

  async heal(): Promise<void> {
    const links = this.#ids.flatMap((from) =>
      this.#ids.filter((to) => to !== from).map((to) => ({ from, to })),
    );
    await this.#configure(links, ({ to }) => `qdisc replace dev ${this.#cable(to)} root pfifo limit 1000`);
  }

  async close(): Promise<void> {
    for (const holder of this.#holders.values()) holder.kill("SIGKILL");
  }

  #discipline(condition: LinkCondition): string {
    // A token bucket that is too small for any packet: the kernel drops all packets silently.
    if (condition.type !== "slow") return "tbf rate 8bit burst 1b limit 1b";
    const { delayMs } = condition;
    if (this.#hasNetem)
      return `netem delay ${delayMs}ms ${Math.ceil(delayMs / 3)}ms loss ${Math.ceil(delayMs / 10)}%`;
    // A low rate causes long delays; packets that don't fit into the queue are lost.
    return `tbf rate ${Math.round(20_000 / delayMs)}kbit burst ${SLOW_BURST_BYTES}b latency ${2 * delayMs}ms`;
  }

  async #configure(links: readonly Link[], commandOf: (link: Link) => string): Promise<void> {
    for (const id of this.#ids) {
      const own = links.filter(({ from }) => from === id);
      if (own.length > 0)
        await this.#inside(id, ["tc", "-batch", "-"], own.map((link) => `${commandOf(link)}\n`).join(""));
    }
  }

  /** The name of the cable's end, in the sender's namespace. */
  #cable(to: string): string {
    return `to-${to}`;
  }

  #pidOf(id: string): number {
    return this.#holders.get(id)?.pid ?? 0;
  }

  /** A namespace with a cable to the clients, which run in this process's namespace. */
  async #addNode(id: string): Promise<void> {
    // It ends together with this process, because its input ends.
    const holder = spawn("unshare", ["--net", "sh", "-c", "echo ready; cat"], {
      stdio: ["pipe", "pipe", "ignore"],
    });
    this.#holders.set(id, holder);
    await once(holder.stdout, "data");
    await run("ip", [
      "link",
      "add",
      `to-${id}`,
      "type",
      "veth",
      "peer",
      "name",
      "clients",
      "netns",
      String(this.#pidOf(id)),
    ]);
    const number = this.#ids.indexOf(id) + 1;
    await run("ip", ["addr", "add", `10.77.${number}.254/32`, "dev", `to-${id}`]);
    await run("ip", ["link", "set", `to-${id}`, "up"]);
    await run("ip", [
      "route",
      "add",
      `${this.hostOf(id)}/32`,
      "dev",
      `to-${id}`,
      "src",
      `10.77.${number}.254`,
    ]);
    await this.#inside(
      id,
      ["ip", "-batch", "-"],
      `link set lo up\naddr add ${this.hostOf(id)}/32 dev lo\nlink set clients up\n` +
        `route add 10.77.${number}.254/32 dev clients src ${this.hostOf(id)}\n`,
    );
  }

  async #addCable(a: string, b: string): Promise<void> {
    const names = [
      this.#cable(b),
      "netns",
      String(this.#pidOf(a)),
      "type",
      "veth",
      "peer",
      "name",
      this.#cable(a),
    ];
    await run("ip", ["link", "add", ...names, "netns", String(this.#pidOf(b))]);
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      const cable = this.#cable(to);
      await this.#inside(
        from,
        ["ip", "-batch", "-"],
        `link set ${cable} up\nroute add ${this.hostOf(to)}/32 dev ${cable} src ${this.hostOf(from)}\n`,
      );
    }
  }

  #inside(id: string, command: readonly string[], input: string): Promise<void> {
    const [nsenter = "", ...args] = this.prefixOf(id);
    return run(nsenter, [...args, ...command], input);
  }
}

function run(command: string, args: readonly string[], input = ""): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = execFile(command, args, (error, _stdout, stderr) => {
      if (error === null) resolve();
      else reject(new Error(`${command} ${args.join(" ")}: ${stderr.trim() || error.message}\n${input}`));
    });
    // It may end without reading its input.
    child.stdin?.on("error", () => undefined).end(input);
  });
}
