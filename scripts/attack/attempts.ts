// The attempts: every way to connect without the right certificate, every wrong or weak token, at every route
// and command of the table of rights.
import { connect as connectTcp } from "node:net";
import type { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";

import { HTTP_RIGHTS, isEnough, LINE_RIGHTS, ROLES } from "../../packages/kv/src/access/rights.ts";
import { digestOf, newToken } from "../../packages/kv/src/access/tokens.ts";
import { TestAuthority } from "../../packages/kv/src/test/certificates.ts";
import type { Attempt, Connection } from "./attempt.ts";
import { binaryAttempts } from "./binary-attempts.ts";
import { CANARY_KEY, CANARY_VALUE, type Target } from "./target.ts";

/** How long an attempt waits for an answer, or for the end of its connection. */
const ANSWER_MS_MAX = 3000;
/** An answer that comes in parts is complete if nothing more comes for this long. */
const QUIET_MS = 150;

const CLEAR: Connection = { name: "clear text", type: "clear" };

/** Makes one attempt. Resolves with why it is no refusal; null: it is one. */
export async function make(
  target: Target,
  { port, connection, bytes, isRefusal }: Attempt,
): Promise<string | null> {
  const answer = await exchange(target[port], connection, target.authority.cert, bytes);
  if (answer.includes(CANARY_VALUE) || answer.includes(CANARY_KEY))
    return `the answer shows what is stored: ${answer}`;
  return isRefusal(answer) ? null : `it was answered: ${JSON.stringify(answer.slice(0, 200))}`;
}

/** All attempts at the ports of a node. */
export function attemptsAt(target: Target): Attempt[] {
  const binary = binaryAttempts(target, wrongConnections(target), rightConnection(target), isNoAnswer);
  return [...httpAttempts(target), ...binary, ...lineAttempts(target), ...raftAttempts(target)];
}

function wrongConnections({ hasTls, authority, clients }: Target): Connection[] {
  if (!hasTls) return [{ name: "TLS where there is none", type: "tls" }];
  const before = new Date(Date.now() - 60_000);
  const later = new Date(Date.now() + 3_600_000);
  return [
    CLEAR,
    { name: "TLS without a certificate", type: "tls" },
    { name: "a certificate of the nodes' authority", type: "tls", pair: authority.issue() },
    {
      name: "a certificate of an authority with the same name",
      type: "tls",
      pair: new TestAuthority("clients").issue(),
    },
    { name: "an expired certificate", type: "tls", pair: clients.issue({ validTo: before }) },
    { name: "a certificate that isn't valid yet", type: "tls", pair: clients.issue({ validFrom: later }) },
    {
      name: "a certificate for servers only",
      type: "tls",
      pair: clients.issue({ usages: ["1.3.6.1.5.5.7.3.1"] }),
    },
  ];
}

function rightConnection({ hasTls, client }: Target): Connection {
  return hasTls ? { name: "the right certificate", type: "tls", pair: client } : CLEAR;
}

/** Tokens that no node knows, and headers that hold a valid one in the wrong way. */
function wrongHeaders({ tokens }: Target): string[] {
  const { operate } = tokens;
  return [
    "",
    ...[
      newToken(),
      operate.slice(1),
      `${operate}0`,
      operate.toUpperCase(),
      digestOf(operate).toString("hex"),
    ].map((token) => `Authorization: Bearer ${token}\r\n`),
    "Authorization: Bearer\r\n",
    `Authorization: Basic ${operate}\r\n`,
    `Authorization: Bearer ${operate} ${operate}\r\n`,
    `Authorization: Bearer "${operate}"\r\n`,
    `Authorization: Bearer ${newToken()}\r\nAuthorization: Bearer ${operate}\r\n`,
    `Cookie: token=${operate}; Authorization=Bearer ${operate}\r\n`,
    `Proxy-Authorization: Bearer ${operate}\r\n`,
    `X-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\n`,
  ];
}

/** The ways to name a route's target. */
function targetsOf(label: string, host: string): string[] {
  const plain = label.replace(":key", CANARY_KEY).replace(":session", "1").replace(":id", "n1");
  return [
    plain,
    `${plain}?consistency=stale`,
    `http://${host}${plain}`,
    `/.${plain}`,
    `/${plain}`,
    `${plain}%20`,
  ];
}

function httpAttempts(target: Target): Attempt[] {
  const routes = Object.entries(HTTP_RIGHTS).flatMap(([route, right]) => {
    const [method = "", label = ""] = route.split(" ");
    const methods = method === "GET" ? ["GET", "HEAD"] : [method];
    return methods.map((each) => ({ method: each, label, right }));
  });
  const request = (method: string, path: string, headers: string): string =>
    `${method} ${path} HTTP/1.1\r\nHost: ${target.http}\r\nConnection: close\r\n${headers}` +
    (method === "PUT" || method === "POST" ? "Content-Length: 2\r\n\r\n{}" : "\r\n");
  const attempts: Attempt[] = [];
  const valid = `Authorization: Bearer ${target.tokens.operate}\r\n`;
  for (const { method, label, right } of routes) {
    const name = `${method} ${label}`;
    for (const connection of wrongConnections(target)) {
      for (const headers of ["", valid]) {
        const bytes = request(method, targetsOf(label, target.http)[0] ?? "", headers);
        attempts.push({ name, port: "http", connection, bytes, isRefusal: isNoAnswer });
      }
    }
    // Health checks are for everyone.
    if (right === "anyone") continue;
    const connection = rightConnection(target);
    for (const path of targetsOf(label, target.http)) {
      for (const headers of wrongHeaders(target)) {
        attempts.push({
          name,
          port: "http",
          connection,
          bytes: request(method, path, headers),
          isRefusal: is40x,
        });
      }
    }
    for (const role of ROLES.filter((one) => !isEnough(one, right))) {
      const headers = `Authorization: Bearer ${target.tokens[role]}\r\n`;
      const bytes = request(method, targetsOf(label, target.http)[0] ?? "", headers);
      attempts.push({ name: `${name} as ${role}`, port: "http", connection, bytes, isRefusal: is40x });
    }
  }
  return attempts;
}

function lineAttempts(target: Target): Attempt[] {
  const commands = Object.keys(LINE_RIGHTS)
    .filter((name) => name !== "auth")
    .map((name) => (name === "put" ? `put ${CANARY_KEY} x` : `${name} ${CANARY_KEY}`));
  const { operate, read } = target.tokens;
  const attempts: Attempt[] = [];
  for (const command of commands) {
    for (const connection of wrongConnections(target)) {
      for (const first of ["", `auth ${operate}\n`])
        attempts.push({
          name: command,
          port: "line",
          connection,
          bytes: `${first}${command}\n`,
          isRefusal: isNoAnswer,
        });
    }
    const connection = rightConnection(target);
    const lines = [newToken(), operate.slice(1), `${operate}0`, digestOf(operate).toString("hex")].map(
      (token) => `auth ${token}`,
    );
    const before = [
      "",
      ...lines,
      "auth",
      `AUTH ${operate}`,
      ` auth ${operate}`,
      `auth ${operate} x`,
      `token ${operate}`,
    ];
    for (const first of before) {
      const bytes = `${first === "" ? "" : `${first}\n`}${command}\n${command}\r\n`;
      attempts.push({ name: command, port: "line", connection, bytes, isRefusal: isLineRefusal });
    }
    if (!command.startsWith("get"))
      attempts.push({
        name: `${command} as read`,
        port: "line",
        connection,
        bytes: `auth ${read}\n${command}\n`,
        isRefusal: (answer) =>
          answer.startsWith("Ok: read may read\n") && isLineRefusal(answer.replace(/^.*\n/, "")),
      });
  }
  return attempts;
}

/**
 * The port for other nodes: nothing of what clients have is good there, and it answers nothing to strangers.
 */
function raftAttempts(target: Target): Attempt[] {
  const payloads = [
    `GET /status HTTP/1.1\r\nHost: ${target.raft}\r\nAuthorization: Bearer ${target.tokens.operate}\r\n\r\n`,
    `auth ${target.tokens.operate}\nget ${CANARY_KEY}\n`,
    "\x00\x00\x00\x10hello hello hello",
    "\xff".repeat(4096),
    "\x01".repeat(64),
  ];
  const connections = [CLEAR, ...wrongConnections(target), rightConnection(target)];
  return connections.flatMap((connection) =>
    payloads.map((bytes, at) => ({
      name: `payload ${at + 1} at the port for nodes`,
      port: "raft" as const,
      connection,
      bytes,
      // The first message of the proof is a random number, which shows nothing. It is as long as that.
      isRefusal: (answer: string) => answer.length < 256 && !answer.includes("n1"),
    })),
  );
}

/** Nothing came but the end of the connection, or an alert of TLS, which has 7 bytes. */
function isNoAnswer(answer: string): boolean {
  return (
    answer === "" ||
    /^\x15\x03[\x00-\x04]\x00\x02..$/s.test(answer) ||
    answer.startsWith("HTTP/1.1 400 ") ||
    answer.startsWith("Error: this is no command but another protocol")
  );
}

function is40x(answer: string): boolean {
  return /^HTTP\/1\.1 (?:400|401|403) /.test(answer) && !/^HTTP\/1\.1 2/m.test(answer);
}

function isLineRefusal(answer: string): boolean {
  const lines = answer.split("\n").filter((line) => line !== "");
  return lines.length > 0 && lines.every((line) => line.startsWith("Error: "));
}

/** Sends the bytes, and resolves with all that came back. */
function exchange(address: string, { type, pair }: Connection, ca: string, bytes: string): Promise<string> {
  const [host = "", port = ""] = address.split(":");
  const at = { host, port: Number(port) };
  // An attacker doesn't care whose certificate the node shows.
  const socket: Duplex & { setTimeout: (ms: number, callback: () => void) => unknown } =
    type === "clear" ? connectTcp(at) : connectTls({ ...at, ca, rejectUnauthorized: false, ...pair });
  return new Promise((resolve) => {
    let answer = "";
    let quiet: NodeJS.Timeout | undefined;
    const end = (): void => {
      clearTimeout(quiet);
      clearTimeout(deadline);
      socket.destroy();
      resolve(answer);
    };
    const deadline = setTimeout(end, ANSWER_MS_MAX);
    socket.on("data", (chunk: Buffer) => {
      answer += chunk.toString("latin1");
      clearTimeout(quiet);
      quiet = setTimeout(end, QUIET_MS);
    });
    socket.on("error", () => undefined);
    socket.on("close", end);
    socket.on("end", end);
    socket.write(Buffer.from(bytes, "latin1"));
  });
}
