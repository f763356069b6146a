/** A server of the key-value store in this process, whose session table is as large as its limits allow. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { nodeEnvironment } from "keelson";
import { encodeMembership } from "keelson/codec";
import { snapshotFiles } from "keelson/storage/snapshots";
import { restoreWal } from "keelson/storage/wal";
import { encodeRecords, SessionTable } from "../../packages/keelson/src/runtime/sessions/index.ts";
import { KvServer } from "../../packages/kv/src/server/kv-server.ts";
import type { ServerSettings } from "../../packages/kv/src/server/server-settings.ts";
import { encodeState, type StateEntry } from "../../packages/kv/src/store/state-snapshot.ts";
import { freePorts } from "../lib/free-ports.ts";
import { dataKey, encodeVersioned } from "../../packages/kv/src/store/state-layout.ts";

/** About as many as the limit on the table's bytes allows: see `SESSION_LIMITS`. */
const SESSIONS = 90;
const ANSWERS = 1024;
/** A result of the key-value store has about this size. */
const ANSWER_BYTES = 30;

/** When all sessions were used last. */
const CLOCK_MS = 1;
/** Of the snapshot: after all entries of the sessions. */
const INDEX = 1_000_000;

export interface FullServerOptions {
  /** How long a session may stay unused, in milliseconds of log time. */
  readonly ttlMs: number;
  /** Keys in the state, each with a value of this many bytes. */
  readonly keys: number;
  readonly valueBytes: number;
}

/** A directory with a full session table in a snapshot, from which a server starts. Removed by `remove`. */
export class FullServer {
  readonly #root = mkdtempSync(path.join(tmpdir(), "keelson-turns-"));
  readonly #servers: KvServer[] = [];
  #ports: readonly number[] = [];

  /** Prepares the directory. */
  static async prepare(options: FullServerOptions): Promise<FullServer> {
    const full = new FullServer();
    full.#ports = await freePorts(6);
    const backups = snapshotFiles(path.join(full.#root, "backup"));
    await backups.open(nodeEnvironment());
    const membership = encodeMembership({
      config: { voters: ["n1"], outgoingVoters: [], learners: [] },
      members: new Map([["n1", { address: full.#at(0) }]]),
    });
    const header = { clusterId: "turns", position: { term: 2, index: INDEX }, membership };
    const draft = await backups.create(header, [fullTable(options.ttlMs)]);
    for await (const chunk of encodeState(options.keys, entries(options))) await draft.write(chunk);
    const { id } = await draft.finish();
    await backups.close();
    const file = readdirSync(path.join(full.#root, "backup")).find((name) => name.includes(id));
    await restoreWal({
      snapshot: path.join(full.#root, "backup", file ?? ""),
      log: path.join(full.#root, "n1", "log"),
      snapshots: path.join(full.#root, "n1", "snapshots"),
      nodeId: "n1",
      address: full.#at(0),
    });
    return full;
  }

  /** Starts the server, and resolves when it leads. */
  async start(): Promise<KvServer> {
    const server = await this.#start("n1", 0, null);
    await until(() => server.raft.metrics().role === "leader");
    return server;
  }

  /** Starts a second, empty server, and makes it a member. Resolves when it has caught up. */
  async startSecond(first: KvServer): Promise<KvServer> {
    const second = await this.#start("n2", 3, [first.addresses.http]);
    await first.raft.changeMembership({ add: { n2: this.#at(3) } }, { timeoutMs: 120_000 });
    return second;
  }

  /** Where the first server answers HTTP. */
  get http(): string {
    return `http://${this.#at(2)}`;
  }

  async remove(): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.close()));
    rmSync(this.#root, { recursive: true, force: true });
  }

  async #start(id: string, firstPort: number, join: readonly string[] | null): Promise<KvServer> {
    const [listen = 0, line = 0, http = 0] = this.#ports.slice(firstPort);
    const host = "127.0.0.1";
    const settings: ServerSettings = {
      ...{ id, join, peers: null, data: path.join(this.#root, id), clusterId: null, forward: false },
      ...{ line: { host, port: line }, http: { host, port: http }, listen: { host, port: listen } },
      ...{ address: this.#at(firstPort), advertiseLine: null, advertiseHttp: null },
      ...{ snapshots: {}, adminTokenFile: null, adminOpen: true },
    };
    const server = await KvServer.start(settings, () => undefined);
    this.#servers.push(server);
    return server;
  }

  #at(place: number): string {
    return `127.0.0.1:${String(this.#ports[place] ?? 0)}`;
  }
}

/** Resolves when the condition holds. */
export async function until(condition: () => boolean, timeoutMs = 60_000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not within ${timeoutMs / 1000} s: ${condition.toString()}`);
    await new Promise((resolve) => {
      setTimeout(resolve, 10);
    });
  }
}

/** A session table that is as large as its limits allow, encoded. */
function fullTable(ttlMs: number): Uint8Array {
  const table = new SessionTable();
  let index = 0;
  for (let session = 0; session < SESSIONS; session++) {
    const id = ++index;
    table.open(id, CLOCK_MS, ttlMs);
    for (let sequence = 1; sequence <= ANSWERS; sequence++) {
      table.beginCommand(++index, CLOCK_MS, { id, sequence, lowestUnanswered: 1 });
      const bytes = new Uint8Array(ANSWER_BYTES).fill(sequence);
      table.recordAnswer(id, sequence, { index, type: "done", bytes });
      table.discardChanges();
    }
  }
  return encodeRecords(table.openView().records());
}

async function* entries({ keys, valueBytes }: FullServerOptions): AsyncGenerator<StateEntry> {
  for (let at = 0; at < keys; at++) {
    const key = dataKey(Buffer.from(`key-${String(at).padStart(8, "0")}`));
    const value = new Uint8Array(valueBytes).fill(at);
    yield await Promise.resolve([key, encodeVersioned({ value, version: 1 })] as const);
  }
}
