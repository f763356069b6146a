/**
 * Hosts of their own for the nodes: each in a network namespace (`ip netns`), with one cable (veth) to a
 * bridge for the other nodes, and another to the clients. A node's address is on its loopback device, so it
 * keeps it whatever happens to the cables.
 */
import { execFile, spawn, spawnSync, type ChildProcess } from "node:child_process";
import { mkdirSync } from "node:fs";

import { Chance } from "../lib/chance.ts";
import { RAFT_PORT, type Link, type LinkCondition, type TestNetwork } from "../torture/network.ts";
import { HEALTHY, nameOf, Relay, type Impairment } from "./relay.ts";

const RELAY_PORT = 9100;
/** Room for the headers of UDP and IP around a packet. */
const TUNNEL_MTU_BYTES = 1400;
const NETNS = "/run/netns";
const BRIDGE = "peers";
/** How long a tunnel may take to come up. */
const TUNNEL_MS_MAX = 10_000;

/** What delays, drops and reorders packets: the kernel, or a relay in this process. */
export type ImpairedBy = "netem" | "relay";

/**
 * Why the suite can't run here, in one line; null: it can. Tries it in a namespace that ends with the
 * attempt.
 */
export function netnsRefusal(): string | null {
  if (process.platform !== "linux") return "network namespaces are Linux's";
  if (process.getuid?.() !== 0) return "network namespaces need root";
  for (const command of ["unshare", "ip", "tc", "nft"]) {
    if (spawnSync("sh", ["-c", `command -v ${command}`]).status !== 0)
      return `there is no command ${command} (Debian: apt-get install iproute2 nftables util-linux)`;
  }
  const attempt =
    `mkdir -p ${NETNS} && mount -t tmpfs none ${NETNS} && ip netns add a && ip link add va type veth peer name vb netns a && ` +
    "ip link add name br0 type bridge && ip netns exec a nft add table inet keelson";
  const probe = spawnSync("unshare", ["--net", "--mount", "sh", "-c", attempt], { encoding: "utf8" });
  if (probe.status !== 0)
    return probe.error?.message ?? probe.stderr.trim().split("\n").at(-1) ?? "unshare failed";
  const netem = "ip link add va type veth peer name vb && tc qdisc add dev va root netem delay 1ms";
  const hasNetem = spawnSync("unshare", ["--net", "sh", "-c", netem]).status === 0;
  if (hasNetem || spawnSync("sh", ["-c", "command -v socat && test -c /dev/net/tun"]).status === 0)
    return null;
  return "this kernel has no netem, and there is no socat with /dev/net/tun for a relay (Debian: apt-get install socat)";
}

/** To be made inside namespaces for network, mounts and processes, whose end removes all of it. */
export class NetnsNetwork implements TestNetwork {
  readonly conditions = ["cut", "slow"] as const;
  readonly impairedBy: ImpairedBy;
  readonly relay: Relay | null;
  readonly #places: readonly string[];
  readonly #tunnels: readonly ChildProcess[];

  private constructor(places: readonly string[], relay: Relay | null, tunnels: readonly ChildProcess[]) {
    this.#places = places;
    this.relay = relay;
    this.impairedBy = relay === null ? "netem" : "relay";
    this.#tunnels = tunnels;
  }

  get description(): string {
    const how =
      this.impairedBy === "netem"
        ? "netem in the kernel delays, drops and reorders"
        : "this kernel has no netem: TUN devices, socat and a relay in this process delay, drop and reorder IP packets";
    return `a network namespace for each node, veth cables and a bridge; nft cuts links, ip link unplugs cables; ${how}`;
  }

  static async create(places: readonly string[], seed: number): Promise<NetnsNetwork> {
    mkdirSync(NETNS, { recursive: true });
    await run("mount", ["-t", "tmpfs", "none", NETNS]);
    const hasNetem = await run("sh", [
      "-c",
      "ip link add va type veth peer name vb && tc qdisc add dev va root netem delay 1ms; code=$?; ip link del va; exit $code",
    ]).then(
      () => true,
      () => false,
    );
    await run(
      "ip",
      ["-batch", "-"],
      `link set lo up\nlink add name ${BRIDGE} type bridge\nlink set ${BRIDGE} up\naddr add 10.78.0.254/24 dev ${BRIDGE}\n`,
    );
    for (const [at, place] of places.entries()) await addHost(place, at + 1);
    const addresses = places.map((place, at) => ({
      ...{ place, inside: `10.77.0.${at + 1}`, outside: `10.78.0.${at + 1}` },
    }));
    const relay = hasNetem
      ? null
      : await Relay.create("10.78.0.254", RELAY_PORT, new Chance(seed, 77), addresses);
    const tunnels = hasNetem ? [] : await Promise.all(places.map((place, at) => addTunnel(place, at + 1)));
    for (const [at, place] of places.entries()) {
      const routes = addresses
        .filter((other) => other.place !== place)
        .map(({ inside, outside }) => {
          const way = hasNetem ? `via ${outside} dev eth0` : "dev tun0";
          return `route add ${inside}/32 ${way} src 10.77.0.${at + 1}\n`;
        });
      await within(place, ["ip", "-batch", "-"], routes.join(""));
    }
    return new NetnsNetwork(places, relay, tunnels);
  }

  hostOf(place: string): string {
    return `10.77.0.${this.#numberOf(place)}`;
  }

  peerAddressOf(place: string): string {
    return `${this.hostOf(place)}:${RAFT_PORT}`;
  }

  prefixOf(place: string): readonly string[] {
    return ["ip", "netns", "exec", place];
  }

  async set(links: readonly Link[], condition: LinkCondition): Promise<void> {
    if (condition.type !== "slow") return this.cut(links);
    await this.impair(links, { ...HEALTHY, delayMs: condition.delayMs, jitterMs: condition.delayMs / 3 });
  }

  /** The receiving host drops all packets of these links, silently. Each direction is a link of its own. */
  async cut(links: readonly Link[]): Promise<void> {
    for (const place of this.#places) {
      const senders = links.filter(({ to }) => to === place).map(({ from }) => this.hostOf(from));
      if (senders.length > 0)
        await within(place, [
          "nft",
          "add",
          "rule",
          "inet",
          "keelson",
          "in",
          "ip",
          "saddr",
          `{ ${senders.join(", ")} }`,
          "drop",
        ]);
    }
  }

  /** Takes the hosts' cables to the bridge away. The clients' cables stay. */
  async unplug(places: readonly string[]): Promise<void> {
    for (const place of places) await run("ip", ["link", "set", `peer-${place}`, "down"]);
  }

  async impair(links: readonly Link[], impairment: Impairment): Promise<void> {
    if (this.relay !== null) {
      this.relay.set(new Map(links.map(({ from, to }) => [nameOf(from, to), impairment])));
      return;
    }
    // netem works at the sending host, for all of its links at once: no phase impairs only some of a host's
    // links.
    const { delayMs, jitterMs, loss, duplicate, reorder } = impairment;
    const percent = (share: number): string => `${(100 * share).toFixed(1)}%`;
    for (const place of new Set(links.map(({ from }) => from))) {
      await within(place, [
        ...["tc", "qdisc", "replace", "dev", "eth0", "root", "netem", "delay", `${Math.max(1, delayMs)}ms`],
        ...[`${jitterMs}ms`, "loss", percent(loss), "duplicate", percent(duplicate)],
        ...(reorder === 0 ? [] : ["reorder", percent(1 - reorder)]),
      ]);
    }
  }

  async heal(): Promise<void> {
    this.relay?.set(new Map());
    for (const place of this.#places) {
      await within(place, ["nft", "flush", "chain", "inet", "keelson", "in"]);
      await run("ip", ["link", "set", `peer-${place}`, "up"]);
      if (this.relay === null)
        await within(place, ["tc", "qdisc", "replace", "dev", "eth0", "root", "pfifo", "limit", "1000"]);
    }
  }

  async close(): Promise<void> {
    for (const tunnel of this.#tunnels) tunnel.kill("SIGKILL");
    this.relay?.close();
  }

  #numberOf(place: string): number {
    return this.#places.indexOf(place) + 1;
  }
}

async function addHost(place: string, number: number): Promise<void> {
  await run("ip", ["netns", "add", place]);
  await run(
    "ip",
    ["-batch", "-"],
    `link add peer-${place} type veth peer name eth0 netns ${place}\n` +
      `link set peer-${place} master ${BRIDGE} up\n` +
      `link add client-${place} type veth peer name clients netns ${place}\n` +
      `addr add 10.79.${number}.254/32 dev client-${place}\nlink set client-${place} up\n` +
      `route add 10.77.0.${number}/32 dev client-${place} src 10.79.${number}.254\n`,
  );
  await within(
    place,
    ["ip", "-batch", "-"],
    `link set lo up\naddr add 10.77.0.${number}/32 dev lo\n` +
      `link set eth0 up\naddr add 10.78.0.${number}/24 dev eth0\n` +
      `link set clients up\nroute add 10.79.${number}.254/32 dev clients src 10.77.0.${number}\n`,
  );
  await within(
    place,
    ["nft", "-f", "-"],
    "table inet keelson {\n chain in {\n type filter hook input priority 0;\n }\n}\n",
  );
}

/** A TUN device whose packets go to the relay, one UDP datagram each. */
async function addTunnel(place: string, number: number): Promise<ChildProcess> {
  const tunnel = spawn(
    "ip",
    [
      ...["netns", "exec", place, "socat"],
      `TUN:10.76.0.${number}/24,tun-name=tun0,iff-no-pi,iff-up`,
      `UDP4-DATAGRAM:10.78.0.254:${RELAY_PORT},bind=10.78.0.${number}:${RELAY_PORT}`,
    ],
    { stdio: "ignore" },
  );
  const deadline = performance.now() + TUNNEL_MS_MAX;
  const isUp = (): Promise<boolean> =>
    within(place, ["ip", "link", "set", "tun0", "mtu", String(TUNNEL_MTU_BYTES)]).then(
      () => true,
      () => false,
    );
  while (!(await isUp())) {
    if (tunnel.exitCode !== null || performance.now() > deadline)
      throw new Error(`the tunnel of ${place} did not come up`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return tunnel;
}

function within(place: string, command: readonly string[], input = ""): Promise<void> {
  return run("ip", ["netns", "exec", place, ...command], input);
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
