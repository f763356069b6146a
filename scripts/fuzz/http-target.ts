import { createConnection } from "node:net";

import { StateMachineFailure, type RaftMetrics, type SnapshotMetrics, type Staleness } from "keelson";
import { KvStateMachine, type Database, type KvCommand, type KvResult } from "keelson-kv";

import { HttpServer } from "../../packages/kv/src/http/http-server.ts";
import type { KvNode } from "../../packages/kv/src/node/kv-node.ts";
import type { Chance } from "../lib/chance.ts";
import { expectThat, Finding, type Target } from "./target.ts";

/** From the last byte of the input to the end of the connection. */
const ANSWER_MS_MAX = 10_000;
/**
 * Statuses that mean that the server failed. Node answers requests that it doesn't support with 501 and 505,
 * so these aren't failures.
 */
const FAILURES = /^HTTP\/1\.1 (500|502|503|504)/m;
/**
 * Answers to bytes that aren't a request, or to a request that this server refuses. 404 is a normal answer,
 * like 200.
 */
const REFUSALS = /^HTTP\/1\.1 (400|405|408|413|414|417|429|431|501|505)/m;

/**
 * The complete HTTP server, with one connection for each input. The server must answer, and must never fail.
 * Requests need Node's real `IncomingMessage`, so they are sent over the loopback address.
 */
export function httpTarget(): Target {
  let started: Promise<{ server: HttpServer; mistakes: unknown[]; store: KvStateMachine }> | undefined;
  return {
    name: "http",
    share: 1,
    valid: (chance) =>
      Buffer.from(
        Array.from({ length: chance.between(1, 4) }, () => validRequest(chance)).join(""),
        "latin1",
      ),
    run: async (input) => {
      const { server, mistakes } = await (started ??= startServer());
      const answer = await talk(server.address, input);
      expectThat(
        mistakes.length === 0,
        `the server made a mistake: ${String((mistakes.pop() as Error | undefined)?.stack)}`,
      );
      expectThat(!FAILURES.test(answer), `the server failed: ${answer.slice(0, 400)}`);
      return REFUSALS.test(answer) || answer === "" ? "refused" : "taken";
    },
    close: async () => {
      const all = await started;
      await all?.server.close();
      await all?.store.close();
    },
  };
}

const BODIES = ["", "bar", "a longer value, with spaces", "\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"];

const CHANGES = [
  "",
  "{}",
  '{"to":"n2"}',
  '{"add":{"n4":"h:1"},"timeoutMs":5}',
  '{"remove":["n1"],"promote":["n2"]}',
];

function validRequest(chance: Chance): string {
  const key = chance.pick(["a", "b%20c", "d/e", "%C3%BC", "k".repeat(200)]);
  const body = chance.pick(BODIES);
  switch (chance.between(0, 8)) {
    case 0:
      return `GET ${chance.pick([`/kv/${key}?consistency=stale`, "/kv?limit=3&prefix=a"])} HTTP/1.1\r\nHost: h\r\n\r\n`;
    case 1:
      return `PUT /kv/${key} HTTP/1.1\r\nHost: h\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    case 2:
      return `PUT /kv/${key} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`;
    case 3:
      return `DELETE /kv/${key} HTTP/1.1\r\nHost: h\r\n\r\n`;
    case 4:
      return `GET /kv/${key} HTTP/1.1\r\nHost: h\r\nIf-None-Match: "3", W/"4"\r\n\r\n`;
    case 5: {
      const change = chance.pick(CHANGES);
      return `POST ${chance.pick(["/members", "/transfer"])} HTTP/1.1\r\nHost: h\r\nContent-Length: ${change.length}\r\n\r\n${change}`;
    }
    case 6:
      return `DELETE /members/${key.replace("/", "")} HTTP/1.1\r\nHost: h\r\n\r\n`;
    default:
      return `GET ${chance.pick(["/status", "/members", "/metrics", "/healthz", "/readyz"])} HTTP/1.1\r\nHost: h\r\n\r\n`;
  }
}

/** Sends the bytes, closes the sending side, and resolves with everything that was received. */
function talk(address: string, input: Uint8Array): Promise<string> {
  const [host = "", port = ""] = address.split(":");
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = createConnection({ host, port: Number(port), allowHalfOpen: true });
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Finding(`${ANSWER_MS_MAX} ms after the end of the input the connection still stands`));
    }, ANSWER_MS_MAX);
    socket.on("data", (chunk) => chunks.push(chunk));
    // The server may close the connection before it has received everything.
    socket.on("error", () => undefined);
    socket.on("end", () => socket.end());
    socket.on("close", () => {
      clearTimeout(timer);
      resolve(Buffer.concat(chunks).toString("latin1"));
    });
    socket.end(input);
  });
}

async function startServer() {
  const store = new KvStateMachine(async () => new MemoryDatabase());
  await store.open();
  const mistakes: unknown[] = [];
  const server = await HttpServer.listen(
    { host: "127.0.0.1", port: 0 },
    { onInternalError: (error) => mistakes.push(error) },
  );
  server.serve({ node: new LoneNode(store), store });
  return { server, mistakes, store };
}

/** A cluster of one node without a log: commands are applied at once, one after another. */
class LoneNode implements KvNode {
  readonly #store: KvStateMachine;
  #index = 1;
  #last: Promise<unknown> = Promise.resolve();

  constructor(store: KvStateMachine) {
    this.#store = store;
  }

  write(command: KvCommand): Promise<KvResult> {
    const written = this.#last.then(() => this.#apply(command));
    this.#last = written.catch(() => undefined);
    return written;
  }

  async #apply(command: KvCommand): Promise<KvResult> {
    this.#index += 1;
    const at = { term: 1, index: this.#index };
    const { codec } = this.#store;
    const result = await this.#store.apply(codec.decode(codec.encode(command)), at);
    await this.#store.flush(at);
    return result;
  }

  beginSession({ ttlMs = 60_000 }: { readonly ttlMs?: number } = {}): Promise<{ id: number; ttlMs: number }> {
    return Promise.resolve({ id: (this.#index += 1), ttlMs });
  }

  endSession(): Promise<void> {
    return Promise.resolve();
  }

  async read<T>(query: () => T | Promise<T>): Promise<T> {
    return query();
  }

  changeMembership(): Promise<void> {
    return Promise.resolve();
  }

  addLearner(): Promise<void> {
    return Promise.resolve();
  }

  transferLeadership(to = "n1"): Promise<string> {
    return Promise.resolve(to);
  }

  snapshot(): Promise<SnapshotMetrics> {
    return Promise.resolve({ index: this.#index, term: 1, bytes: 1 });
  }

  staleness(): Staleness {
    return { appliedIndex: this.#index, commitIndex: this.#index, leaderHeardMsAgo: 0 };
  }

  metrics(): RaftMetrics {
    const self = { id: "n1", address: "127.0.0.1:7001" };
    const counters = { elections: 0, writes: 0, reads: 0, readRounds: 0, logWrites: 0, logBytes: 0 };
    return {
      ...{ id: "n1", clusterId: "c", role: "leader", term: 1, leader: { ...self, info: null } },
      ...{
        commitIndex: this.#index,
        appliedIndex: this.#index,
        durableIndex: this.#index,
        firstIndex: 1,
        lastIndex: this.#index,
      },
      config: { voters: ["n1"], outgoingVoters: [], learners: [] },
      members: [
        {
          ...self,
          voter: true,
          info: null,
          lag: 0,
          match: this.#index,
          active: true,
          caughtUp: true,
          lostEntries: false,
        },
      ],
      ...{
        stalled: null,
        logWriteLatency: { count: 0, sumMs: 0, lastMs: 0, recentMaxMs: 0, buckets: [] },
        pendingEntries: 0,
        pendingBytes: 0,
        pendingReads: 0,
        forwardedCalls: 0,
        forwardedBytes: 0,
        sessions: { open: 0, bytes: 0, timeMs: 0 },
      },
      snapshots: null,
      counters: { ...counters, messagesSent: 0, messagesDropped: 0, messagesReceived: 0 },
    };
  }
}

/** An ordered map in memory. */
class MemoryDatabase implements Database {
  readonly #entries = new Map<string, { readonly key: Uint8Array; readonly value: Uint8Array }>();
  #isOpen = true;

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    if (!this.#isOpen) throw new StateMachineFailure("the database is closed");
    return this.#entries.get(nameOf(key))?.value;
  }

  async batch(operations: Parameters<Database["batch"]>[0]): Promise<void> {
    for (const operation of operations) {
      const name = nameOf(operation.key);
      if (operation.type === "del") this.#entries.delete(name);
      else this.#entries.set(name, operation);
    }
  }

  async *entries(from: Uint8Array, to: Uint8Array): AsyncGenerator<readonly [Uint8Array, Uint8Array]> {
    const [first, end] = [nameOf(from), nameOf(to)];
    for (const name of [...this.#entries.keys()].sort()) {
      const entry = this.#entries.get(name);
      if (entry !== undefined && name >= first && name < end) yield [entry.key, entry.value];
    }
  }

  async close(): Promise<void> {
    this.#isOpen = false;
  }
}

function nameOf(key: Uint8Array): string {
  return Buffer.from(key).toString("latin1");
}
