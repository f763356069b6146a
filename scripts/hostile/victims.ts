import { mkdirSync, readFileSync } from "node:fs";
import path from "node:path";

import { freePorts } from "../lib/free-ports.ts";
import { ServerProcess } from "../torture/server-process.ts";

export type Port = "http" | "line" | "raft";

const HOST = "127.0.0.1";
const START_MS_MAX = 30_000;
const POLL_MS = 100;
/**
 * Descriptors of each node: few, as in many containers, so that idle clients are an attack too. The limit is
 * the hard one as well, which Node can't raise.
 */
const DESCRIPTORS = 512;

/**
 * Makes glibc return what is freed of 128 KiB or more to the operating system, as docs/operations.md
 * recommends. By default glibc raises this limit when large values are freed, and then keeps hundreds of MiB
 * for reuse, in which a leak would not be noticed.
 */
const ALLOCATOR = "MALLOC_MMAP_THRESHOLD_=131072";

/** Who leads, as one node sees it. */
export interface Leadership {
  readonly leader: string;
  readonly term: number;
}

/** A node of the cluster under attack. */
export interface Victim {
  readonly id: string;
  readonly addresses: Readonly<Record<Port, string>>;
  readonly pid: number;
  /** Of the HTTP port. */
  readonly url: string;
}

/** Three real servers, as `keelson serve` starts them with few flags, and with `ALLOCATOR`. */
export class Victims {
  /** What went wrong with a process by itself. */
  readonly surprises: string[] = [];
  readonly #processes: ServerProcess[] = [];
  readonly #scheme: string;
  readonly #addresses: ReadonlyMap<string, Readonly<Record<Port, string>>>;

  private constructor(
    addresses: ReadonlyMap<string, Readonly<Record<Port, string>>>,
    directory: string,
    flags: readonly string[],
    hasTls: boolean,
  ) {
    this.#scheme = hasTls ? "https" : "http";
    this.#addresses = addresses;
    const peers = [...addresses].map(([id, { raft }]) => `${id}=${raft}`).join(",");
    for (const [id, { line, http }] of addresses) {
      mkdirSync(path.join(directory, id), { recursive: true });
      const prefix = ["sh", "-c", `ulimit -n ${DESCRIPTORS} && ${ALLOCATOR} exec "$@"`, "sh"];
      const args = [
        "--id",
        id,
        "--peers",
        peers,
        "--data",
        path.join(directory, id),
        "--line",
        line,
        "--http",
        http,
        ...flags,
      ];
      const log = path.join(directory, `${id}.log`);
      this.#processes.push(new ServerProcess(id, prefix, args, log, (text) => this.surprises.push(text)));
    }
  }

  /** `flags`: further ones of `serve`, for all nodes. `hasTls`: they give the nodes a certificate. */
  static async start(directory: string, flags: readonly string[], hasTls: boolean): Promise<Victims> {
    const addresses = new Map<string, Readonly<Record<Port, string>>>();
    const ids = ["n1", "n2", "n3"];
    const free = (await freePorts(3 * ids.length)).map((port) => `${HOST}:${port}`);
    for (const [at, id] of ids.entries()) {
      const [http = "", line = "", raft = ""] = free.slice(3 * at);
      addresses.set(id, { http, line, raft });
    }
    const victims = new Victims(addresses, directory, flags, hasTls);
    for (const process of victims.#processes) process.start();
    const deadline = performance.now() + START_MS_MAX;
    while ((await victims.leadership()) === null) {
      if (performance.now() > deadline) throw new Error(`no leader within ${START_MS_MAX / 1000} s`);
      await pause(POLL_MS);
    }
    return victims;
  }

  /** Who leads, if all nodes agree. null: they don't, or one doesn't answer. */
  async leadership(): Promise<Leadership | null> {
    const statuses = await Promise.all(
      [...this.#addresses.values()].map(({ http }) => statusOf(this.#urlOf(http))),
    );
    const [first] = statuses;
    const leader = first?.leader?.id;
    if (first === undefined || first === null || leader === undefined) return null;
    const { term } = first;
    const agree = statuses.every((status) => status?.leader?.id === leader && status.term === term);
    return agree ? { leader, term } : null;
  }

  async node(id: string): Promise<Victim> {
    const addresses = this.#addresses.get(id);
    if (addresses === undefined) throw new Error(`there is no node ${id}`);
    const url = this.#urlOf(addresses.http);
    const pid = (await statusOf(url))?.pid;
    if (pid === undefined) throw new Error(`${id} does not answer`);
    return { id, addresses, pid, url };
  }

  #urlOf(http: string): string {
    return `${this.#scheme}://${http}`;
  }

  async close(): Promise<void> {
    await Promise.all(this.#processes.map((process) => process.close()));
  }
}

/** Resident memory of a process, in MiB. */
export function residentMib(pid: number): number {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(text)?.[1] ?? NaN) / 1024;
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

interface Status {
  readonly pid: number;
  readonly term: number;
  readonly leader: { readonly id: string } | null;
}

async function statusOf(url: string): Promise<Status | null> {
  try {
    const answer = await fetch(`${url}/status`, { signal: AbortSignal.timeout(3000) });
    return answer.ok ? ((await answer.json()) as Status) : null;
  } catch {
    return null;
  }
}
