/**
 * What the HTTP edge of a server costs: one process with the server's HTTP layer and a store in memory in
 * place of the node, and this process with clients, each with its own connection, that send their next
 * request when the last is answered. Prints the processor time of the server's process for each request,
 * user and system time apart, and the requests per second.
 *
 * `npm run bench:http -- [--clients 64] [--seconds 3] [--bytes 256] [--rounds 3] [--work put,get]
 * [--against FOLDER]`
 *
 * `--against`: another checkout of this repository, which is measured in turn (A B A B).
 */
import { fork, type ChildProcess } from "node:child_process";
import { connect } from "node:net";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

import type { HttpServer as HttpServerOf } from "../packages/kv/src/http/http-server.ts";
import type { Serving } from "../packages/kv/src/node/kv-node.ts";
import type { KvCommand, KvResult } from "../packages/kv/src/store/commands.ts";

/** What the clients do before it is measured. */
const WARM_UP_MS = 1000;
const KEYS = 1000;

interface Usage {
  readonly user: number;
  readonly system: number;
}

interface Figures {
  readonly perSecond: number;
  readonly userMicros: number;
  readonly systemMicros: number;
}

const [mode, root = ""] = process.argv.slice(2);
if (mode === "server") await serve(root);
else await main();

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      clients: { type: "string", default: "64" },
      seconds: { type: "string", default: "3" },
      bytes: { type: "string", default: "256" },
      rounds: { type: "string", default: "3" },
      work: { type: "string", default: "put,get" },
      against: { type: "string" },
    },
  });
  const own = path.join(import.meta.dirname, "..");
  const folders = values.against === undefined ? [own] : [values.against, own];
  const clients = Number(values.clients);
  const ms = Number(values.seconds) * 1000;
  console.log(`Node ${process.version}, ${values.clients} clients, values of ${values.bytes} bytes`);
  const found = new Map<string, Figures[]>();
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const folder of folders) {
      const server = fork(import.meta.filename, ["server", folder]);
      const port = await once<number>(server);
      const value = Buffer.alloc(Number(values.bytes), 0x61);
      await run(port, clients, WARM_UP_MS / 2, putsOf(port, value));
      for (const work of values.work.split(",")) {
        const requestOf = work === "put" ? putsOf(port, value) : getsOf(port);
        await run(port, clients, WARM_UP_MS / 2, requestOf);
        const before = await usageOf(server);
        const count = await run(port, clients, ms, requestOf);
        const after = await usageOf(server);
        const figures = {
          perSecond: (count / ms) * 1000,
          userMicros: (after.user - before.user) / count,
          systemMicros: (after.system - before.system) / count,
        };
        const name = `${work} ${folder}`;
        found.set(name, [...(found.get(name) ?? []), figures]);
        console.log(line(name, figures));
      }
      server.kill();
    }
  }
  console.log("medians");
  for (const [name, all] of found) console.log(line(name, medianOf(all)));
}

/** The round whose processor time is in the middle; of an even number, the dearer one. */
function medianOf(rounds: readonly Figures[]): Figures {
  const total = ({ userMicros, systemMicros }: Figures): number => userMicros + systemMicros;
  const middle = [...rounds].sort((a, b) => total(a) - total(b))[rounds.length >> 1];
  if (middle === undefined) throw new Error("no round was measured");
  return middle;
}

function line(name: string, { perSecond, userMicros, systemMicros }: Figures): string {
  const total = (userMicros + systemMicros).toFixed(1);
  const parts = `${userMicros.toFixed(1)} user, ${systemMicros.toFixed(1)} system`;
  return `${name}: ${total} µs of CPU (${parts}), ${perSecond.toFixed(0)}/s`;
}

function once<T>(child: ChildProcess): Promise<T> {
  return new Promise((resolve) => child.once("message", (message) => resolve(message as T)));
}

function usageOf(server: ChildProcess): Promise<Usage> {
  const usage = once<Usage>(server);
  server.send("usage");
  return usage;
}

function putsOf(port: number, value: Buffer): (at: number) => Buffer {
  const requests = Array.from({ length: KEYS }, (_, key) => {
    const head = `PUT /kv/key-${key} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Length: ${value.length}\r\n\r\n`;
    return Buffer.concat([Buffer.from(head), value]);
  });
  return (at) => requests[at % KEYS] ?? value;
}

function getsOf(port: number): (at: number) => Buffer {
  const requests = Array.from({ length: KEYS }, (_, key) =>
    Buffer.from(`GET /kv/key-${key} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`),
  );
  return (at) => requests[at % KEYS] ?? Buffer.alloc(0);
}

/** Has the clients work for so long. Resolves with the number of requests answered. */
async function run(
  port: number,
  clients: number,
  ms: number,
  requestOf: (at: number) => Buffer,
): Promise<number> {
  const end = performance.now() + ms;
  let count = 0;
  const client = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const socket = connect(port, "127.0.0.1");
      let rest = "";
      socket.setNoDelay(true);
      socket.on("error", reject);
      socket.on("data", (chunk) => {
        rest += chunk.toString("latin1");
        const body = rest.indexOf("\r\n\r\n") + 4;
        if (body < 4) return;
        const bytes = Number(/^content-length: (\d+)/im.exec(rest)?.[1] ?? 0);
        if (rest.length < body + bytes) return;
        if (!rest.startsWith("HTTP/1.1 200")) reject(new Error(rest));
        rest = "";
        count += 1;
        if (performance.now() < end) socket.write(requestOf(count));
        else socket.end(() => resolve());
      });
      socket.write(requestOf(0));
    });
  await Promise.all(Array.from({ length: clients }, client));
  return count;
}

/** The process that is measured: the HTTP layer of the checkout in `folder`. */
async function serve(folder: string): Promise<void> {
  const source = path.join(folder, "packages/kv/src/http/http-server.ts");
  const { HttpServer } = (await import(pathToFileURL(source).href)) as { HttpServer: typeof HttpServerOf };
  const server = await HttpServer.listen({ host: "127.0.0.1", port: 0 });
  server.serve(servingInMemory());
  process.on("message", () => {
    const { user, system } = process.cpuUsage();
    process.send?.({ user, system });
  });
  process.once("SIGTERM", () => process.exit());
  process.send?.(Number(server.address.split(":").at(-1)));
}

/** Applies writes at the end of the turn, as a node does, and reads at once. */
function servingInMemory(): Serving {
  const values = new Map<string, { readonly value: Uint8Array; readonly version: number }>();
  let applied = 0;
  let waiting: (() => void)[] = [];
  const applyAll = (): void => {
    const resolvers = waiting;
    waiting = [];
    for (const resolve of resolvers) resolve();
  };
  const apply = (command: KvCommand): KvResult => {
    const key = Buffer.from(command.key).toString("latin1");
    const version = ++applied;
    if (command.type === "put") values.set(key, { value: Buffer.from(command.value), version });
    else values.delete(key);
    return { type: "applied", index: applied - 1, version, existed: null };
  };
  const node = {
    write: (command: KvCommand) =>
      new Promise<KvResult>((resolve) => {
        if (waiting.length === 0) setImmediate(applyAll);
        waiting.push(() => resolve(apply(command)));
      }),
    read: async <T>(query: () => T | Promise<T>): Promise<T> => query(),
  };
  const store = {
    get: (key: Uint8Array) => Promise.resolve(values.get(Buffer.from(key).toString("latin1")) ?? null),
  };
  return { node, store } as unknown as Serving;
}
