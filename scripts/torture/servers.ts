import { mkdirSync } from "node:fs";
import path from "node:path";

import { HTTP_PORT, LINE_PORT, RAFT_PORT, type TestNetwork } from "./network.ts";
import { ServerProcess } from "./server-process.ts";
import { SmallDisk } from "./small-disk.ts";

const STATUS_MS_MAX = 2000;
const POLL_MS = 100;
const LISTING_LIMIT = 1000;

/** What is needed of /status. */
interface Status {
  readonly id: string;
  readonly role: string;
  readonly term: number;
  readonly leader: { readonly id: string } | null;
  readonly commit: number;
  readonly applied: number;
  readonly last: number;
}

/** All servers of the run. */
export class Servers {
  readonly network: TestNetwork;
  readonly processes: readonly ServerProcess[];
  /** The last node's data is on it; a text: why there is none. */
  readonly smallDisk: SmallDisk | string;

  constructor(
    ids: readonly string[],
    network: TestNetwork,
    directory: string,
    mayMount: boolean,
    onSurprise: (text: string) => void,
  ) {
    this.network = network;
    const peers = ids.map((id) => `${id}=${network.peerAddressOf(id)}`).join(",");
    mkdirSync(path.join(directory, "logs"), { recursive: true });
    this.smallDisk = mayMount
      ? SmallDisk.mount(path.join(directory, ids.at(-1) ?? ""))
      : "it would stay mounted if the run were killed; it is used with --network namespaces only";
    this.processes = ids.map((id) => {
      const host = network.hostOf(id);
      const args = [
        ...["--id", id, "--peers", peers, "--data", path.join(directory, id)],
        ...[
          "--listen",
          `${host}:${RAFT_PORT}`,
          "--line",
          `${host}:${LINE_PORT}`,
          "--http",
          `${host}:${HTTP_PORT}`,
        ],
      ];
      return new ServerProcess(
        id,
        network.prefixOf(id),
        args,
        path.join(directory, "logs", `${id}.log`),
        onSurprise,
      );
    });
  }

  get ids(): string[] {
    return this.processes.map(({ id }) => id);
  }

  get httpAddresses(): string[] {
    return this.ids.map((id) => this.httpOf(id));
  }

  httpOf(id: string): string {
    return `${this.network.hostOf(id)}:${HTTP_PORT}`;
  }

  process(id: string): ServerProcess {
    const found = this.processes.find((one) => one.id === id);
    if (found === undefined) throw new Error(`there is no node ${id}`);
    return found;
  }

  /** The leader of the latest term that anybody names; null: nobody does. */
  async leader(): Promise<string | null> {
    const leaders = (await this.#statuses()).filter((status) => status?.role === "leader");
    return leaders.sort((a, b) => (b?.term ?? 0) - (a?.term ?? 0))[0]?.id ?? null;
  }

  /**
   * Resolves with null when all nodes run, name one leader of one term, and have applied the same
   * log to its end; with what was still different when the time was over.
   */
  async converged(msMax: number): Promise<string | null> {
    const deadline = performance.now() + msMax;
    for (;;) {
      const statuses = await this.#statuses();
      const texts = new Set(statuses.map((status) => (status === null ? "silent" : standingOf(status))));
      if (texts.size === 1 && !texts.has("silent") && (statuses[0]?.leader ?? null) !== null) return null;
      if (performance.now() > deadline) {
        return statuses
          .map((status, at) => `${this.ids[at] ?? ""}: ${status === null ? "silent" : standingOf(status)}`)
          .join("; ");
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /** Every key with its version, as the node holds it. */
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

  #statuses(): Promise<(Status | null)[]> {
    return Promise.all(this.processes.map((process) => this.#status(process)));
  }

  async #status({ id, isRunning, isPaused }: ServerProcess): Promise<Status | null> {
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

function standingOf({ term, leader, commit, applied, last }: Status): string {
  const state =
    applied === last && commit === last
      ? `applied all ${last}`
      : `commit ${commit}, applied ${applied}, last ${last}`;
  return `term ${term}, leader ${leader?.id ?? "none"}, ${state}`;
}
