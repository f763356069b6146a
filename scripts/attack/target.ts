// A node to attack: one real process with all protections, or with tokens and a secret only.
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { AdminClient } from "../../packages/kv/src/client/admin-client.ts";
import { KvClient } from "../../packages/kv/src/client/kv-client.ts";
import type { ClientTls } from "../../packages/kv/src/client/sender.ts";
import { ROLES, type Role } from "../../packages/kv/src/access/rights.ts";
import { digestOf, formatEntry, newToken } from "../../packages/kv/src/access/tokens.ts";
import { TestAuthority, type Issued } from "../../packages/kv/src/test/certificates.ts";
import { freePorts } from "../lib/free-ports.ts";

/** What no answer may hold: the key and the value that the node has. */
export const CANARY_KEY = "canary-key-5b1f";
export const CANARY_VALUE = "canary-value-93d0";

const MAIN = fileURLToPath(new URL("../../packages/kv/src/main.ts", import.meta.url));
const START_MS_MAX = 30_000;

/** How much a node has done. */
export interface Figures {
  readonly reads: number;
  readonly writes: number;
  readonly last: number;
}

export class Target {
  readonly directory = mkdtempSync(path.join(tmpdir(), "keelson-attack-"));
  readonly hasTls: boolean;
  readonly authority = new TestAuthority("nodes");
  readonly clients = new TestAuthority("clients");
  readonly tokens: Readonly<Record<Role, string>> = {
    read: newToken(),
    write: newToken(),
    operate: newToken(),
  };
  /** A client's certificate that the node accepts. */
  readonly client: Issued = this.clients.issue();
  readonly http: string;
  readonly line: string;
  readonly raft: string;
  #process: ChildProcess | null = null;

  private constructor(hasTls: boolean, ports: readonly number[]) {
    this.hasTls = hasTls;
    const [http = "", line = "", raft = ""] = ports.map((port) => `127.0.0.1:${port}`);
    this.http = http;
    this.line = line;
    this.raft = raft;
  }

  static async start(hasTls: boolean): Promise<Target> {
    const target = new Target(hasTls, await freePorts(3));
    await target.#start();
    return target;
  }

  get tls(): ClientTls | undefined {
    return this.hasTls ? { ca: this.authority.cert, ...this.client } : undefined;
  }

  async #start(): Promise<void> {
    const { cert, key } = this.authority.issue();
    const file = (name: string, text: string): string => {
      const full = path.join(this.directory, name);
      writeFileSync(full, text, { mode: 0o600 });
      return full;
    };
    const list = ROLES.map((role) => formatEntry({ name: role, role, digest: digestOf(this.tokens[role]) }));
    const secret = file("peer.secret", `${newToken()}\n`);
    const clear = ["--tokens-file", file("tokens", list.join("")), "--peer-secret-file", secret];
    const tls = [
      ...["--tls-cert", file("server.crt", cert), "--tls-key", file("server.key", key)],
      ...["--tls-client-ca", file("clients.crt", this.clients.cert)],
    ];
    const args = [
      ...["--conditions=source", MAIN, "serve"],
      ...["--id", "n1", "--peers", `n1=${this.raft}`, "--data", path.join(this.directory, "n1")],
      ...["--http", this.http, "--line", this.line, "--log-level", "warn"],
      ...clear,
      ...(this.hasTls ? tls : []),
    ];
    // The channel ends the node if this program is killed.
    this.#process = spawn(process.execPath, args, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    const client = new KvClient({
      nodes: [this.http],
      ...(this.tls === undefined ? {} : { tls: this.tls }),
      token: this.tokens.operate,
      timeoutMs: 1000,
    });
    const deadline = performance.now() + START_MS_MAX;
    for (;;) {
      try {
        await client.put(CANARY_KEY, CANARY_VALUE);
        await client.close();
        return;
      } catch (error) {
        if (performance.now() > deadline) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  }

  /** How much the node has done so far. */
  async figures(): Promise<Figures> {
    const node = this.hasTls ? `https://${this.http}` : this.http;
    const admin = new AdminClient([node], { token: this.tokens.operate, tls: this.tls });
    const { counters, last } = (await admin.status()) as {
      counters: { reads: number; writes: number };
      last: number;
    };
    return { reads: counters.reads, writes: counters.writes, last };
  }

  close(): void {
    this.#process?.kill("SIGKILL");
    rmSync(this.directory, { recursive: true, force: true });
  }
}
