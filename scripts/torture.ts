/**
 * Tortures a cluster of real servers: `npm run torture -- --minutes M`. Clients write and read through kills,
 * pauses, cuts a full disk and changes of members; every answer is checked. Exits with 0 only if all held.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { makeEmptyDirectory } from "./lib/empty-directory.ts";
import type { Illegal, KeyHistory } from "./torture/key-history.ts";
import { Faults } from "./torture/faults.ts";
import { isInside, NamespaceNetwork, namespacesRefusal, runInside } from "./torture/namespaces.ts";
import type { TestNetwork } from "./torture/network.ts";
import { parseTortureOptions, TORTURE_HELP, type TortureOptions } from "./torture/options.ts";
import { ProxyNetwork } from "./torture/proxies.ts";
import { Servers } from "./torture/servers.ts";
import { SmallDisk } from "./torture/small-disk.ts";
import { WriteGaps } from "./torture/write-gaps.ts";
import { Workload } from "./torture/workload.ts";

const PROGRESS_EVERY_MS = 15_000;
/**
 * The time that nodes may take after the last fault to start, elect a leader and catch up. On a busy machine
 * that takes a while.
 */
const CONVERGE_MS_MAX = 90_000;
/** How many violations are printed; further ones would be of the same kind. */
const FAILURES_KEPT_MAX = 10;

async function main(args: string[]): Promise<number> {
  let options: TortureOptions | null;
  try {
    options = parseTortureOptions(args);
    if (options === null) {
      console.log(TORTURE_HELP);
      return 0;
    }
    if (options.data !== null) makeEmptyDirectory("data", options.data);
    if (options.histories !== null) makeEmptyDirectory("histories", options.histories);
  } catch (error) {
    console.error(
      `${error instanceof Error ? error.message : String(error)}\nTry: npm run torture -- --help`,
    );
    return 2;
  }
  if (options.network !== "proxies" && !isInside()) {
    const refusal = namespacesRefusal();
    if (refusal === null) return runInside(fileURLToPath(import.meta.url), args);
    console.log(`network namespaces cannot be used here: ${refusal}`);
    if (options.network === "namespaces") return 2;
  }
  return new Torture(options).run();
}

/** One run, from empty directories to the verdict. */
class Torture {
  readonly #options: TortureOptions;
  readonly #directory: string;
  readonly #begunAt = performance.now();
  readonly #failures: string[] = [];
  readonly #interrupted = new AbortController();

  constructor(options: TortureOptions) {
    this.#options = options;
    this.#directory = path.resolve(options.data ?? mkdtempSync(path.join(tmpdir(), "keelson-torture-")));
  }

  async run(): Promise<number> {
    const { minutes, nodes, clients, seed } = this.#options;
    const ids = Array.from({ length: nodes }, (_, at) => `n${at + 1}`);
    const spare = [`n${nodes + 1}`];
    const places = [...ids, ...spare];
    const network = isInside() ? await NamespaceNetwork.create(places) : await ProxyNetwork.create(places);
    const servers = new Servers(ids, spare, network, this.#directory, isInside(), (text) => {
      this.#fail(text);
    });
    this.#listen();
    this.#say(`seed ${seed}: ${nodes} nodes, ${clients} clients, ${minutes} minutes, in ${this.#directory}`);
    this.#say(network.description);
    this.#say(
      servers.smallDisk instanceof SmallDisk
        ? `${ids.at(-1) ?? ""} has a small disk of its own, which gets full`
        : `no disk gets full: ${servers.smallDisk}`,
    );
    try {
      await this.#torture(servers);
    } catch (error) {
      this.#fail(error instanceof Error ? String(error.stack) : String(error));
    }
    await this.#tidy(servers, network);
    return this.#verdict();
  }

  async #torture(servers: Servers): Promise<void> {
    const { minutes, clients, seed } = this.#options;
    for (const process of servers.processes) process.start();
    const late = await servers.converged(CONVERGE_MS_MAX);
    if (late !== null)
      throw new Error(`the cluster did not come up within ${CONVERGE_MS_MAX / 1000} s: ${late}`);
    const writeGaps = new WriteGaps();
    const workload = new Workload({
      ...{ places: servers.httpPlaces, nodes: () => servers.httpAddresses, clients, seed, writeGaps },
      onIllegal: (illegal) => {
        this.#keep(illegal);
      },
      onHistory: (keyHistory) => {
        this.#export(keyHistory);
      },
      onFailure: (text) => {
        this.#fail(text);
      },
    });
    const faults = new Faults(seed, servers, writeGaps, (text) => {
      this.#say(text);
    });
    const progress = setInterval(() => {
      this.#say(progressOf(workload, faults));
    }, PROGRESS_EVERY_MS);
    await this.#wait(minutes * 60_000);
    clearInterval(progress);
    this.#say("the faults end, and all must heal");
    await faults.end();
    if (!(await faults.members.settle(CONVERGE_MS_MAX)))
      this.#fail(
        `a change of members was not done within ${CONVERGE_MS_MAX / 1000} s after the last fault: ` +
          servers.nodes.map(({ id, state }) => `${id} ${state}`).join(", "),
      );
    const apart = await servers.converged(CONVERGE_MS_MAX);
    // Under load the logs differ by entries in flight, so check again when the clients have stopped.
    await workload.end();
    const still = apart === null ? null : await servers.converged(CONVERGE_MS_MAX);
    if (still !== null)
      this.#fail(
        `the nodes did not converge within ${CONVERGE_MS_MAX / 1000} s after the last fault: ${still}`,
      );
    await workload.readAllAgain();
    await this.#compare(servers, workload);
    this.#summarize(workload, faults, writeGaps);
    // Each node writes it to its log at every start.
    console.log(
      `snapshots: taken ${servers.countInLogs('"took a snapshot')}, installed ${servers.countInLogs('"installed a snapshot')}`,
    );
  }

  /** All nodes must hold the same keys, and a client must have put each of them. */
  async #compare(servers: Servers, workload: Workload): Promise<void> {
    const late = await servers.converged(CONVERGE_MS_MAX);
    if (late !== null) this.#fail(`the nodes did not converge after the last read: ${late}`);
    for (const id of servers.ids) {
      const contents = await servers.contents(id);
      for (const [key, { version }] of workload.remembered) {
        const has = contents.get(key) ?? null;
        if (has !== version)
          this.#fail(`${id} holds version ${String(has)} of key ${key}, and ${String(version)} was read`);
        contents.delete(key);
      }
      if (contents.size > workload.forgotten)
        this.#fail(`${id} holds keys that nobody put: ${[...contents.keys()].slice(0, 5).join(", ")}`);
    }
    this.#say(`all ${servers.ids.length} nodes hold the same ${workload.remembered.size} keys`);
  }

  #summarize(workload: Workload, faults: Faults, writeGaps: WriteGaps): void {
    if (workload.checked === 0 || workload.countOf("put", "done") === 0)
      this.#fail("nothing was written: this run shows nothing");
    if (workload.undecided > 0) this.#fail(`${workload.undecided} keys have a history that was not decided`);
    console.log(`calls: ${listed(workload.counts)}`);
    console.log(`faults: ${listed(faults.counts)}`);
    console.log(`requests for changes: ${listed(faults.members.answers)}`);
    const longest = [...writeGaps.longest()].map(
      ([kind, ms]) => [kind, `${(ms / 1000).toFixed(1)} s`] as const,
    );
    console.log(`longest gap without a write, by the fault that it met: ${listed(new Map(longest))}`);
    console.log(
      `${workload.checked} keys checked, ${workload.undecided} undecided; ${workload.remembered.size} read again at the end` +
        (workload.forgotten === 0 ? "" : `; the ${workload.forgotten} oldest were let go`),
    );
  }

  async #tidy(servers: Servers, network: TestNetwork): Promise<void> {
    await network.heal();
    for (const process of servers.processes) process.resume();
    // Stop the servers in order, if nothing failed: that must work, too.
    await Promise.all(
      servers.processes.map((process) => (this.#failures.length === 0 ? process.close() : process.kill())),
    );
    await network.close();
    if (!(servers.smallDisk instanceof SmallDisk)) return;
    if (this.#failures.length > 0) servers.smallDisk.copyTo(`${servers.smallDisk.directory}-disk`);
    servers.smallDisk.unmount();
  }

  #verdict(): number {
    const { seed, minutes, nodes, clients } = this.#options;
    if (this.#failures.length === 0) {
      rmSync(this.#directory, { recursive: true, force: true });
      console.log("every answer was right, and nothing that was acknowledged is lost");
      return 0;
    }
    console.log(`\n${this.#failures.length} failures:`);
    for (const text of this.#failures.slice(0, FAILURES_KEPT_MAX)) console.log(`- ${text}`);
    console.log(
      `\nKept in ${this.#directory}: the servers' logs (logs/), their data (n1/ ...), and for each wrong answer its ` +
        "explanation (wrong-N.txt), the smallest part that is wrong as a picture (wrong-N.svg, for a browser) and the " +
        "key's whole history (wrong-N.jsonl, one call a line).\n" +
        `The same faults again, though not the same timing: npm run torture -- --minutes ${minutes} --nodes ${nodes} ` +
        `--clients ${clients} --seed ${seed}`,
    );
    return 1;
  }

  /** The history of one key, as a file that other programs can check (docs/histories.md). */
  #export({ key, historyLines }: KeyHistory): void {
    const { histories } = this.#options;
    if (histories === null) return;
    writeFileSync(path.join(histories, `${key.replaceAll("/", "-")}.jsonl`), historyLines);
  }

  #keep({ text, svg, history }: Illegal): void {
    const number = this.#failures.length + 1;
    this.#fail(text);
    if (number > FAILURES_KEPT_MAX) return;
    const name = path.join(this.#directory, `wrong-${number}`);
    writeFileSync(`${name}.txt`, `${text}\n`);
    writeFileSync(`${name}.jsonl`, history);
    if (svg !== null) writeFileSync(`${name}.svg`, svg);
  }

  /** The run ends at the first failure, because whatever follows would make it harder to analyse. */
  #fail(text: string): void {
    this.#failures.push(text);
    if (this.#failures.length <= FAILURES_KEPT_MAX) this.#say(`FAILED: ${text}`);
    this.#interrupted.abort();
  }

  /** Ctrl-C ends the faults early, and the checks still run. A second Ctrl-C ends the process at once. */
  #listen(): void {
    let count = 0;
    const stop = (): void => {
      count += 1;
      if (count > 1) process.exit(1);
      this.#say("ending early");
      this.#interrupted.abort();
    };
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, stop);
    process.once("disconnect", stop);
  }

  #wait(ms: number): Promise<void> {
    const { signal } = this.#interrupted;
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(done, ms);
      if (signal.aborted) done();
      else signal.addEventListener("abort", done, { once: true });
    });
  }

  #say(text: string): void {
    console.log(`${((performance.now() - this.#begunAt) / 1000).toFixed(1).padStart(7)} s  ${text}`);
  }
}

function progressOf(workload: Workload, faults: Faults): string {
  const done = [...workload.counts]
    .filter(([name]) => name.endsWith(": done"))
    .reduce((sum, [, count]) => sum + count, 0);
  const all = [...workload.counts.values()].reduce((sum, count) => sum + count, 0);
  const met = [...faults.counts.values()].reduce((sum, count) => sum + count, 0);
  const megabytes = Math.round(process.memoryUsage().rss / 1024 / 1024);
  return `${done} of ${all} calls done, ${workload.checked} keys checked, ${met} faults over, ${megabytes} MB here`;
}

function listed(entries: ReadonlyMap<string, number | string>): string {
  return [...entries]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");
}

// Exit now: nothing is left to wait for, and clients' idle connections would keep the process alive for a
// while.
process.exit(await main(process.argv.slice(2)));
