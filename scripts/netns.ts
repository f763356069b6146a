/**
 * Separate hosts: `npm run netns`. Three and five servers in network namespaces, whose links are cut,
 * delayed, lossy and reordered, while clients write and read. Exits with 0 only if every answer was right and
 * all recovered in time.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { NetnsNetwork, netnsRefusal } from "./netns/netns-network.ts";
import { NETNS_HELP, parseNetnsOptions, type NetnsOptions } from "./netns/options.ts";
import { PHASES, type Cast, type Phase } from "./netns/phases.ts";
import { Probe } from "./netns/probe.ts";
import { SKIPPED } from "./tally.ts";
import type { Illegal } from "./torture/key-history.ts";
import { isInside, runInside } from "./torture/namespaces.ts";
import { Servers } from "./torture/servers.ts";
import { Workload } from "./torture/workload.ts";
import { WriteGaps } from "./torture/write-gaps.ts";

const CLIENTS = 6;
const START_MS_MAX = 60_000;
/**
 * A side with a majority must take writes within this time, and all nodes must answer linearizable reads
 * within this time after the fault. It is longer than a node takes to give up a silent connection (5 s) and
 * to dial again (2 s).
 */
const RECOVERY_MS_MAX = 15_000;
/** For the nodes to have the same log after the last fault. */
const CONVERGE_MS_MAX = 60_000;

/** What a packet that is under way when a link is cut may still take. */
const PROPAGATION_MS = 100;
const PAUSE_MS = 100;

async function main(args: string[]): Promise<number> {
  let options: NetnsOptions | null;
  try {
    options = parseNetnsOptions(args);
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\nTry: npm run netns -- --help`);
    return 2;
  }
  if (options === null) {
    console.log(NETNS_HELP);
    return 0;
  }
  if (!isInside()) {
    const refusal = netnsRefusal();
    if (refusal !== null) {
      console.log(`${SKIPPED} no server was started in a network namespace: ${refusal}.`);
      return 0;
    }
    // Namespaces of one run for each size, so that each begins with an empty network.
    for (const size of options.sizes) {
      const seed = ["--seed", String(options.seed)];
      const code = await runInside(fileURLToPath(import.meta.url), [
        ...args,
        "--nodes",
        String(size),
        ...seed,
      ]);
      if (code !== 0) return code;
    }
    return 0;
  }
  return new NetnsRun(options).run();
}

/** What a phase showed. */
interface Figures {
  readonly phase: string;
  /** Milliseconds until a write succeeded during the fault; null: none had to. */
  readonly writeMs: number | null;
  /** Milliseconds after the fault until a write succeeded and every node answered a linearizable read. */
  readonly healedMs: number;
  readonly refusals: number;
}

class NetnsRun {
  readonly #options: NetnsOptions;
  readonly #directory = mkdtempSync(path.join(tmpdir(), "keelson-netns-"));
  readonly #begunAt = performance.now();
  readonly #failures: string[] = [];
  readonly #figures: Figures[] = [];
  readonly #probe = new Probe();

  constructor(options: NetnsOptions) {
    this.#options = options;
  }

  async run(): Promise<number> {
    this.#endWhenInterrupted();
    const { seed, seconds } = this.#options;
    const [size = 3] = this.#options.sizes;
    const ids = Array.from({ length: size }, (_, at) => `n${at + 1}`);
    const network = await NetnsNetwork.create(ids, seed);
    const servers = new Servers(ids, [], network, this.#directory, false, (text) => {
      this.#fail(text);
    });
    this.#say(`${size} nodes, ${CLIENTS} clients, phases of ${seconds} s, seed ${seed}`);
    this.#say(network.description);
    try {
      await this.#phases(servers, network);
    } catch (error) {
      this.#fail(error instanceof Error ? String(error.stack) : String(error));
    }
    await network.heal();
    await Promise.all(
      servers.processes.map((process) => (this.#failures.length === 0 ? process.close() : process.kill())),
    );
    await network.close();
    return this.#verdict();
  }

  /**
   * Ends the run on Ctrl-C, or when the process outside has ended. This process is the first of its
   * namespace: signals that it doesn't handle are ignored, and the kernel ends all other processes with it.
   */
  #endWhenInterrupted(): void {
    const end = (): void => {
      try {
        rmSync(this.#directory, { recursive: true, force: true });
      } finally {
        // Also if a server has just written a file there.
        process.exit(1);
      }
    };
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, end);
    process.once("disconnect", end);
  }

  async #phases(servers: Servers, network: NetnsNetwork): Promise<void> {
    const { seed, only, isShort } = this.#options;
    for (const process of servers.processes) process.start();
    const late = await servers.converged(START_MS_MAX);
    if (late !== null)
      throw new Error(`the cluster did not come up within ${START_MS_MAX / 1000} s: ${late}`);
    const workload = new Workload({
      ...{ places: servers.httpPlaces, nodes: () => servers.httpAddresses, clients: CLIENTS, seed },
      writeGaps: new WriteGaps(),
      onIllegal: (illegal) => {
        this.#keep(illegal);
      },
      onHistory: () => undefined,
      onFailure: (text) => {
        this.#fail(text);
      },
    });
    const phases = PHASES.filter(({ name, isShort: short = false }) =>
      only === null ? !isShort || short : name.includes(only),
    );
    if (phases.length === 0) throw new Error(`no phase has "${only ?? ""}" in its name`);
    for (const phase of phases) {
      await this.#phase(phase, servers, network);
      if (this.#failures.length > 0) break;
    }
    await workload.end();
    const apart = await servers.converged(CONVERGE_MS_MAX);
    if (apart !== null) this.#fail(`the nodes did not converge within ${CONVERGE_MS_MAX / 1000} s: ${apart}`);
    await workload.readAllAgain();
    await this.#nothingLost(servers);
    const written = workload.countOf("put", "done");
    if (written === 0 || workload.checked === 0) this.#fail("nothing was written: this run shows nothing");
    if (workload.undecided > 0) this.#fail(`${workload.undecided} keys have a history that was not decided`);
    const calls = [...workload.counts].sort(([a], [b]) => (a < b ? -1 : 1));
    console.log(`calls: ${calls.map(([name, count]) => `${name} ${count}`).join(", ")}`);
    console.log(
      `${workload.checked} keys with a linearizable history; ${this.#probe.acknowledged.length} acknowledged probes, none lost`,
    );
    if (network.relay !== null) {
      const { passed, lost, duplicated, delayed, overtaken } = network.relay.counts;
      console.log(
        `packets: ${passed} passed on, ${lost} lost, ${duplicated} duplicated, ${delayed} delayed, ${overtaken} overtaken by a later one`,
      );
    }
  }

  async #phase(phase: Phase, servers: Servers, network: NetnsNetwork): Promise<void> {
    const cast = await this.#cast(servers);
    const addressesOf = (ids: readonly string[]): string[] => ids.map((id) => servers.httpOf(id));
    const writers = addressesOf(phase.writers(cast));
    const refusers = addressesOf(phase.refusers(cast));
    await phase.apply(network, cast);
    const until = performance.now() + 1000 * this.#options.seconds;
    const fault = new AbortController();
    const refusing = this.#refused(phase.name, refusers, fault.signal);
    const writeMs = writers.length === 0 ? null : await this.#probe.untilWrite(writers, RECOVERY_MS_MAX);
    if (writers.length > 0 && writeMs === null)
      this.#fail(
        `${phase.name}: ${cast.leader} led, and no write succeeded within ${RECOVERY_MS_MAX / 1000} s`,
      );
    await pause(Math.max(0, until - performance.now()));
    fault.abort();
    const refusals = await refusing;
    await network.heal();
    const healed = performance.now();
    const all = addressesOf(servers.ids);
    const wrote = await this.#probe.untilWrite(all, RECOVERY_MS_MAX);
    const read = await this.#probe.untilAllRead(all, RECOVERY_MS_MAX);
    const healedMs = performance.now() - healed;
    if (wrote === null || read === null || healedMs > RECOVERY_MS_MAX)
      this.#fail(`${phase.name}: not all nodes served again within ${RECOVERY_MS_MAX / 1000} s after it`);
    this.#figures.push({ phase: phase.name, writeMs, healedMs, refusals });
    this.#say(
      `${phase.name} (${cast.leader} led)${writeMs === null ? "" : `: a write after ${seconds(writeMs)}`}` +
        `${refusers.length === 0 ? "" : `, ${refusals} writes and reads refused`}, all served ${seconds(healedMs)} after it`,
    );
  }

  /**
   * Nodes without a majority are asked to write and read all the time; an answer is a violation. Counts
   * refusals.
   */
  async #refused(phase: string, addresses: readonly string[], signal: AbortSignal): Promise<number> {
    let refusals = 0;
    const isOver = (): boolean => signal.aborted;
    const ask = async (address: string, what: string, isAnswered: () => Promise<boolean>): Promise<void> => {
      // A request that was sent just before the cut may still be answered.
      await pause(PROPAGATION_MS);
      while (!isOver()) {
        const answered = await isAnswered();
        // An answer that came after the end of the fault may be right.
        if (isOver()) return;
        if (answered) this.#fail(`${phase}: ${address}, which reaches no majority, ${what}`);
        refusals += 1;
        await pause(PAUSE_MS);
      }
    };
    await Promise.all(
      addresses.flatMap((address) => [
        ask(address, "acknowledged a write", () => this.#probe.put(address)),
        ask(address, "answered a linearizable read", () => this.#probe.reads(address)),
      ]),
    );
    if (addresses.length > 0 && refusals === 0)
      this.#fail(`${phase}: no request was refused in time: the phase is too short to show anything`);
    return refusals;
  }

  async #cast(servers: Servers): Promise<Cast> {
    const deadline = performance.now() + RECOVERY_MS_MAX;
    for (;;) {
      const leader = await servers.leader();
      if (leader !== null) return { leader, followers: servers.ids.filter((id) => id !== leader) };
      if (performance.now() > deadline) throw new Error("no node leads");
      await pause(PAUSE_MS);
    }
  }

  async #nothingLost(servers: Servers): Promise<void> {
    for (const id of servers.ids) {
      const lost = await this.#probe.lost(servers.httpOf(id));
      if (lost.length > 0)
        this.#fail(
          `${id} lost ${lost.length} acknowledged writes: ${lost
            .slice(0, 5)
            .map(({ key }) => key)
            .join(", ")}`,
        );
    }
  }

  #keep({ text, history }: Illegal): void {
    writeFileSync(path.join(this.#directory, `wrong-${this.#failures.length + 1}.jsonl`), history);
    this.#fail(text);
  }

  #verdict(): number {
    if (this.#failures.length === 0) {
      rmSync(this.#directory, { recursive: true, force: true });
      const slowest = (figures: readonly number[]): string => seconds(Math.max(0, ...figures));
      console.log(
        `${this.#figures.length} phases held: writes went on after at most ${slowest(this.#figures.map(({ writeMs }) => writeMs ?? 0))}, ` +
          `and all nodes served at most ${slowest(this.#figures.map(({ healedMs }) => healedMs))} after a fault`,
      );
      return 0;
    }
    console.log(`\n${this.#failures.length} failures:`);
    for (const text of this.#failures.slice(0, 10)) console.log(`- ${text}`);
    console.log(`\nLogs, data and wrong histories are kept in ${this.#directory}.`);
    return 1;
  }

  #fail(text: string): void {
    this.#failures.push(text);
    this.#say(`FAILED: ${text}`);
  }

  #say(text: string): void {
    console.log(`${((performance.now() - this.#begunAt) / 1000).toFixed(1).padStart(7)} s  ${text}`);
  }
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

// Exit now: nothing is left to wait for, and idle connections would keep the process alive for a while.
process.exit(await main(process.argv.slice(2)));
