/**
 * The table of attacks. To add one, add an entry: a name, the port, what it does, and, if it must have no
 * effect, how that is seen. All else is checked for each attack by `hostile.ts`.
 */
import { encodeControlMessage } from "keelson/codec";

import type { HostileClient } from "./client.ts";
import { pause, type Port } from "./victims.ts";

/** What an attack knows. */
export interface Scene {
  readonly client: HostileClient;
  /** The URL of the node's HTTP port, to look for effects. */
  readonly url: string;
  /** From 0 to 1: the short version does less of what takes time. */
  readonly scale: number;
}

export interface Attack {
  readonly name: string;
  readonly port: Port;
  /** Part of the short version in CI. */
  readonly isShort?: boolean;
  /** Does it. What it opened stays open for a while after that. */
  readonly run: (scene: Scene) => Promise<void>;
  /** What must not have happened. null: nothing wrong. */
  readonly effect?: (scene: Scene) => Promise<string | null>;
}

/** A key that holds the largest value; and one that no attack may change. */
export const LARGE_KEY = "large";
export const SAFE_KEY = "ship";
export const SAFE_VALUE = "Argo";
export const VALUE_BYTES = 1_046_528;

const HOST = "Host: 127.0.0.1\r\n";
const GET_LARGE = `GET /kv/${LARGE_KEY} HTTP/1.1\r\n${HOST}\r\n`;
const PUT = `PUT /kv/hostile HTTP/1.1\r\n${HOST}`;
const COMMANDS = `\nput ${SAFE_KEY} hacked\ndel ${SAFE_KEY}\n`;
const TLS_HELLO = Buffer.from(`\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03${COMMANDS}`, "latin1");

function* bytesOf(text: string): Generator<string> {
  yield* text;
}

function repeat(text: string, bytes: number): string {
  return text.repeat(Math.ceil(bytes / text.length));
}

/**
 * Requests that a page makes a browser send without asking the server: by image, form, link, or no-cors
 * `fetch`.
 */
const PAGE_HEADERS: readonly string[] = [
  "Host: 127.0.0.1\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nUser-Agent: Mozilla/5.0\r\n",
  "Host: 127.0.0.1\r\nOrigin: http://evil.example\r\nUser-Agent: Mozilla/5.0\r\n",
  "Host: 127.0.0.1\r\nOrigin: null\r\n",
  "Host: evil.example:9001\r\nUser-Agent: Mozilla/5.0\r\n",
  "Host: evil.example:9001\r\nOrigin: http://evil.example:9001\r\nSec-Fetch-Site: same-origin\r\n",
];
const PAGE_REQUESTS: readonly string[] = [
  "GET /snapshot",
  "POST /snapshot",
  "POST /sessions",
  "POST /transfer",
  "POST /members",
  `PUT /kv/${SAFE_KEY}`,
  `DELETE /kv/${SAFE_KEY}`,
  `GET /kv/${SAFE_KEY}`,
];

export async function safeKeyChanged({ url }: Scene): Promise<string | null> {
  const answer = await fetch(`${url}/kv/${SAFE_KEY}`);
  const text = await answer.text();
  return text === SAFE_VALUE ? null : `${SAFE_KEY} is ${JSON.stringify(text.slice(0, 100))} now`;
}

const HTTP: readonly Attack[] = [
  {
    name: "silent: connections that say nothing",
    port: "http",
    run: async ({ client, scale }) => {
      for (let at = 0; at < 10 * scale; at++) await client.connect(500);
    },
  },
  {
    name: "slow: headers byte by byte, without an end",
    port: "http",
    run: async ({ client, scale }) => {
      const sockets = await client.connect(200);
      for (let at = 0; at < 300 * scale; at++) {
        for (const socket of sockets) socket.write(at === 0 ? `GET /kv/a HTTP/1.1\r\n${HOST}X: ` : "x");
        await pause(50);
      }
    },
  },
  {
    name: "announcing: lengths of bodies that never come",
    port: "http",
    isShort: true,
    run: ({ client }) => client.unread(130, `${PUT}Content-Length: ${VALUE_BYTES}\r\n\r\n`),
  },
  {
    name: "stopping: bodies without their last byte",
    port: "http",
    run: ({ client }) =>
      client.unread(130, `${PUT}Content-Length: ${VALUE_BYTES}\r\n\r\n${"v".repeat(VALUE_BYTES - 1)}`),
  },
  {
    name: "piecemeal: 5.7 MB as chunks of a byte",
    port: "http",
    isShort: true,
    run: async ({ client }) => {
      for (let at = 0; at < 6; at++)
        await client.unread(1, `${PUT}Transfer-Encoding: chunked\r\n\r\n${"1\r\nv\r\n".repeat(950_000 / 6)}`);
    },
  },
  {
    name: "piecemeal: bodies in packets of a byte",
    port: "http",
    run: async ({ client, scale }) => {
      const sockets = await client.connect(8);
      const text = `${PUT}Content-Length: ${VALUE_BYTES}\r\n\r\n${"v".repeat(200_000 * scale)}`;
      await Promise.all(sockets.map((socket) => client.piecemeal(socket, bytesOf(text))));
    },
  },
  {
    name: "pipelining: 23 KB of requests for a large value, no answer read",
    port: "http",
    isShort: true,
    run: ({ client }) => client.unread(1, repeat(GET_LARGE, 23_000)),
  },
  {
    name: "pipelining: 71 KB, on each of 20 connections",
    port: "http",
    run: ({ client }) => client.unread(20, repeat(GET_LARGE, 71_000)),
  },
  {
    name: "pipelining: listings and metrics, no answer read",
    port: "http",
    run: ({ client }) =>
      client.unread(
        50,
        repeat(`GET /kv?limit=1000 HTTP/1.1\r\n${HOST}\r\nGET /metrics HTTP/1.1\r\n${HOST}\r\n`, 100_000),
      ),
  },
  {
    name: "pipelining: small puts, no answer read",
    port: "http",
    run: ({ client }) => client.unread(20, repeat(`${PUT}Content-Length: 1\r\n\r\nv`, 500_000)),
  },
  {
    name: "greedy: connections that ask for a large value and never read",
    port: "http",
    run: async ({ client, scale }) => {
      for (let at = 0; at < 10 * scale; at++) await client.unread(100, GET_LARGE.repeat(4));
    },
  },
  {
    name: "greedy: four backups whose clients do not read, and a fifth whose client does",
    port: "http",
    run: ({ client }) => client.unread(4, `GET /snapshot HTTP/1.1\r\n${HOST}\r\n`),
    effect: async ({ url }) => {
      // The state is small, so the operating system may hold the four. If not, one makes room.
      for (let at = 0; at < 30; at++) {
        const answer = await fetch(`${url}/snapshot`);
        await answer.arrayBuffer();
        if (answer.ok) return null;
        await pause(500);
      }
      return "no backup could be taken";
    },
  },
  {
    name: "oversized: headers, a target, a body, chunks, and a chunk's extension",
    port: "http",
    run: async ({ client }) => {
      const chunked = `${PUT}Transfer-Encoding: chunked\r\n\r\n`;
      await Promise.all([
        client.ask(`GET / HTTP/1.1\r\n${HOST}${repeat(`X: ${"x".repeat(1000)}\r\n`, 1_000_000)}`),
        client.ask(`GET /${"x".repeat(2_000_000)} HTTP/1.1\r\n${HOST}\r\n`),
        client.ask(`${PUT}Content-Length: 50000000\r\n\r\n${"v".repeat(50_000_000)}`),
        client.ask(chunked + `100000\r\n${"v".repeat(0x100000)}\r\n`.repeat(20)),
        client.ask(`${chunked}1;${"x".repeat(5_000_000)}`),
      ]);
    },
  },
  {
    name: "foreign: bytes that are no HTTP",
    port: "http",
    run: async ({ client }) => {
      await client.ask(TLS_HELLO);
      await client.ask("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
      await client.ask(Buffer.alloc(1_000_000, 0xff));
      await client.ask(`put ${SAFE_KEY} hacked\n`);
    },
    effect: safeKeyChanged,
  },
  {
    name: "browser: what pages can send",
    port: "http",
    isShort: true,
    run: async ({ client }) => {
      for (const request of PAGE_REQUESTS) {
        for (const headers of PAGE_HEADERS) {
          const answer = await client.ask(
            `${request} HTTP/1.1\r\n${headers}Connection: close\r\nContent-Length: 6\r\n\r\nhacked`,
          );
          if (!answer.startsWith("HTTP/1.1 403 "))
            throw new Error(`${request} with ${headers} got ${answer}`);
        }
      }
    },
    effect: safeKeyChanged,
  },
  {
    name: "odd: targets that lead elsewhere when they are resolved, and broken escapes",
    port: "http",
    isShort: true,
    run: async ({ client }) => {
      const targets = [
        `/x/../kv/${SAFE_KEY}`,
        `/kv/../kv/${SAFE_KEY}`,
        `//kv/${SAFE_KEY}`,
        "/kv/%ED%A0%80",
        "/kv/%zz",
        "*",
      ];
      for (const target of targets) {
        for (const method of ["PUT", "DELETE"])
          await client.ask(
            `${method} ${target} HTTP/1.1\r\n${HOST}Connection: close\r\nContent-Length: 6\r\n\r\nhacked`,
          );
      }
    },
    effect: safeKeyChanged,
  },
  {
    name: "repeating: changes of members that are refused or done already",
    port: "http",
    run: async ({ client, scale }) => {
      const json = JSON.stringify({ promote: ["n1", "n2", "n3"] });
      const requests = [
        `DELETE /members/never HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`,
        `POST /members HTTP/1.1\r\n${HOST}Connection: close\r\nContent-Length: ${json.length}\r\n\r\n${json}`,
      ];
      for (let at = 0; at < 50 * scale; at++)
        await Promise.all(requests.map((request) => client.ask(request)));
    },
  },
  {
    name: "churning: connections that are reset at once",
    port: "http",
    run: async ({ client, scale }) => {
      for (let at = 0; at < 40 * scale; at++) {
        for (const socket of await client.connect(100)) {
          socket.write(GET_LARGE);
          client.reset(socket);
        }
      }
    },
  },
];

const LINE: readonly Attack[] = [
  {
    name: "silent: connections that say nothing",
    port: "line",
    run: async ({ client }) => {
      await client.connect(240);
    },
  },
  {
    name: "browser: a page's POST with commands in its body, whole and byte by byte",
    port: "line",
    isShort: true,
    run: async ({ client }) => {
      const post = `POST / HTTP/1.1\r\n${HOST}Content-Length: 100\r\n\r\n${COMMANDS}`;
      await client.ask(post);
      const [socket] = await client.connect(1);
      if (socket !== undefined) await client.piecemeal(socket, bytesOf(post));
      await client.ask(TLS_HELLO);
      await client.ask(`GET /${"x".repeat(1_100_000)} HTTP/1.1\r${COMMANDS}`);
      await client.ask(`PRI * HTTP/2.0\r\n\r\nSM\r\n\r${COMMANDS}`);
    },
    effect: safeKeyChanged,
  },
  {
    name: "pipelining: gets of a large value, no answer read",
    port: "line",
    run: ({ client }) => client.unread(100, repeat(`get ${LARGE_KEY}\n`, 100_000)),
  },
  {
    name: "pipelining: puts, no answer read",
    port: "line",
    run: ({ client }) => client.unread(20, repeat("put hostile v\n", 500_000)),
  },
  {
    name: "stopping: lines without their end",
    port: "line",
    run: ({ client }) => client.unread(100, `put hostile ${"v".repeat(VALUE_BYTES - 1)}`),
  },
  {
    name: "piecemeal: lines in packets of a byte",
    port: "line",
    run: async ({ client, scale }) => {
      const sockets = await client.connect(8);
      const text = `put hostile ${"v".repeat(200_000 * scale)}`;
      await Promise.all(sockets.map((socket) => client.piecemeal(socket, bytesOf(text))));
    },
  },
  {
    name: "piecemeal: single bytes behind commands whose answers are not read",
    port: "line",
    run: async ({ client, scale }) => {
      const sockets = await client.connect(50);
      for (const socket of sockets) socket.pause().write(`get ${LARGE_KEY}\n`.repeat(20));
      await pause(500);
      const text = "x".repeat(5_000 * scale);
      await Promise.all(sockets.map((socket) => client.piecemeal(socket, bytesOf(text))));
    },
  },
  {
    name: "oversized: a line of 100 MB",
    port: "line",
    run: async ({ client }) => {
      await client.ask(`put hostile ${"v".repeat(100_000_000)}\n`, 10_000);
    },
  },
  {
    name: "foreign: lines that are no commands",
    port: "line",
    run: async ({ client }) => {
      await client.ask("HELO hostile\r\n".repeat(100_000));
      await client.ask(Buffer.alloc(1_000_000, 0x0a));
      await client.ask(Buffer.alloc(1_000_000, 0xff));
    },
  },
];

/**
 * Handshakes of a node that was never a member: whole, half, too long, of another cluster, to another node.
 */
function handshakes(clusterId: string, to: string): readonly Buffer[] {
  const from = { id: "stranger", storeId: "s", info: "", address: "127.0.0.1:1", priority: 0 };
  const hello = { type: "hello", versionMin: 1, versionMax: 1, clusterId, from, to } as const;
  const whole = Buffer.from(encodeControlMessage(hello));
  const long = Buffer.from(whole);
  long.writeUInt32LE(30 * 1024 * 1024, 8);
  return [
    whole,
    whole.subarray(0, -1),
    long,
    Buffer.from(encodeControlMessage({ ...hello, clusterId: "another" })),
    Buffer.from(encodeControlMessage({ ...hello, to: "n9" })),
  ];
}

/** What proves the shared secret: version 1, a number, four guessed proofs, and a record that never ends. */
function guesses(): Buffer {
  const number = Buffer.from([0x4b, 0x4c, 0x41, 1, ...Buffer.alloc(32, 7)]);
  return Buffer.concat([number, Buffer.from([4]), Buffer.alloc(128, 3), Buffer.from([0, 0, 4, 0])]);
}

const RAFT: readonly Attack[] = [
  {
    name: "guessing: proofs of a secret, whole, in halves, and with the records that would follow",
    port: "raft",
    run: async ({ client, scale }) => {
      const bytes = guesses();
      for (let at = 0; at < 20 * scale; at++) {
        await client.unread(5, bytes);
        await client.unread(5, bytes.subarray(0, 30 + 10 * (at % 10)));
        await client.unread(5, Buffer.concat([bytes, Buffer.alloc(200_000)]));
        await pause(50);
      }
    },
  },
  {
    name: "silent: connections that say nothing",
    port: "raft",
    run: async ({ client }) => {
      await client.connect(300);
    },
  },
  {
    name: "foreign: HTTP, TLS, noise, and lengths that are too large",
    port: "raft",
    isShort: true,
    run: async ({ client }) => {
      const noise = Buffer.from(Array.from({ length: 100_000 }, (_, at) => (at * 167 + 13) & 0xff));
      await Promise.all(
        [GET_LARGE, TLS_HELLO, noise, Buffer.alloc(1000, 0xff), Buffer.alloc(1000), `put a b\n`].map(
          (bytes) => client.ask(bytes),
        ),
      );
    },
  },
  {
    name: "slow: a byte at a time",
    port: "raft",
    run: async ({ client, scale }) => {
      const sockets = await client.connect(60);
      for (let at = 0; at < 100 * scale; at++) {
        for (const socket of sockets) if (socket.writable) socket.write(Buffer.alloc(1, at));
        await pause(50);
      }
    },
  },
  {
    name: "strangers: handshakes with wrong ids, and with announced lengths that never come",
    port: "raft",
    isShort: true,
    run: async ({ client, url, scale }) => {
      const answer = await fetch(`${url}/members`);
      const { id, clusterId } = (await answer.json()) as { id: string; clusterId: string };
      for (let at = 0; at < 20 * scale; at++) {
        for (const bytes of handshakes(clusterId, id)) await client.unread(5, bytes);
        await pause(100);
      }
    },
  },
  {
    name: "churning: connections that are reset at once, with half of a handshake",
    port: "raft",
    run: async ({ client, url, scale }) => {
      const answer = await fetch(`${url}/members`);
      const { id, clusterId } = (await answer.json()) as { id: string; clusterId: string };
      const [, half = ""] = handshakes(clusterId, id);
      for (let at = 0; at < 40 * scale; at++) {
        for (const socket of await client.connect(100)) {
          socket.write(half);
          client.reset(socket);
        }
      }
    },
  },
  {
    name: "greedy: much at once, no answer read",
    port: "raft",
    run: ({ client }) => client.unread(20, Buffer.alloc(5_000_000, 0x4b)),
  },
];

export const ATTACKS: readonly Attack[] = [...HTTP, ...LINE, ...RAFT];
