// Attacks on the Raft port of a node with TLS, and on its outgoing connections. The table has one attempt for
// each way to get in that we know of. Each is refused before the node asks its host anything, and hears
// nothing from it.
import net from "node:net";
import tls from "node:tls";
import { afterAll, describe, expect, it } from "vitest";
import { type CertificateFields, SERVER_AUTH, TestAuthority } from "../../environment/test/certificates.ts";
import { TestNode } from "../../testing/suites/transport/test-node.ts";
import type { TransportRig } from "../../testing/suites/transport/transport-rig.ts";
import type { TcpOptions } from "./tcp-transport.ts";
import { hello, identity, inquiry, loopbackRig, sleep, watchQuestions } from "./test/rig.ts";

const CLUSTER = "shop/0123456789abcdef";
/** Everything in a handshake that a stranger doesn't know. */
const PRIVATE = [CLUSTER, "store-b", "info of b"];

const authority = new TestAuthority();
const DAY_MS = 24 * 60 * 60 * 1000;
const greeting = hello({ clusterId: CLUSTER, from: identity, to: "b" });

let attempts = 0;
afterAll(() => console.log(`${String(attempts)} attempts on Raft ports with TLS, all refused`));

function tlsRig(options: Partial<TcpOptions> = {}): TransportRig {
  return loopbackRig((id) => ({ tls: { ...authority.node(id), ca: authority.cert }, ...options }));
}

/** A node whose host notes every question of the transport. */
async function victim(
  rig: TransportRig,
  id = "b",
): Promise<{ node: TestNode; questions: string[]; port: number }> {
  const node = await TestNode.start(rig, id, CLUSTER);
  const questions = watchQuestions(node);
  return { node, questions, port: Number(node.transport.address.split(":").at(-1)) };
}

/** What an attacker heard before the connection was closed. */
async function heard(socket: net.Socket): Promise<string> {
  const pieces: Buffer[] = [];
  // Any answer is the last one: a goodbye, after which the node waits for the attacker to hang up.
  socket.on("data", (bytes: Buffer) => {
    pieces.push(bytes);
    socket.end();
  });
  socket.on("error", () => undefined);
  await new Promise((resolve) => socket.once("close", resolve));
  return Buffer.concat(pieces).toString("latin1");
}

interface Attempt {
  readonly name: string;
  /** Opens the connection and says what the attacker has to say. */
  readonly open: (port: number) => net.Socket;
  /** What the node's log says. Null: nothing. */
  readonly logged: string | null;
}

function overTls(options: tls.ConnectionOptions, says = greeting): Attempt["open"] {
  return (port) => {
    // The attacker trusts anybody.
    const socket = tls.connect({ host: "127.0.0.1", port, rejectUnauthorized: false, ...options });
    socket.once("secureConnect", () => socket.write(says));
    return socket;
  };
}

function withCertificate(fields: CertificateFields, by = authority): Attempt["open"] {
  return overTls(by.issue(fields));
}

function plainly(bytes: Uint8Array | string, ends = false): Attempt["open"] {
  return (port) => {
    const socket = net.connect(port, "127.0.0.1");
    socket.write(bytes);
    if (ends) socket.end();
    return socket;
  };
}

/** Names that are nearly node a's. */
const LOOKALIKES: readonly (readonly string[])[] = [
  ["DNS:a"],
  ["DNS:keelson:a"],
  ["email:keelson:a"],
  ["URI:a"],
  ["URI:KEELSON:a"],
  ["URI:keelson:A"],
  ["URI:keelson:"],
  ["URI:keelson:/a"],
  ["URI:keelson:a/"],
  ["URI:keelson:shop/x/a"],
  ["URI:keelson:other/a"],
  ["URI:keelson:shop/0123456789abcdef/a"],
  ["URI:keelson:%zz/a"],
  ["URI:https://x/, URI:keelson:a"],
  ['URI:https://x/", URI:keelson:a'],
  ["DNS:x, URI:keelson:a"],
];

const firstHello = Buffer.from("16030100c8010000c403035b", "hex");

const ATTEMPTS: readonly Attempt[] = [
  { name: "no certificate", open: overTls({}), logged: "it showed no certificate" },
  {
    name: "an expired certificate",
    open: withCertificate({ names: ["URI:keelson:a"], validTo: new Date(Date.now() - 1000) }),
    logged: "its certificate has expired",
  },
  {
    name: "a certificate of tomorrow",
    open: withCertificate({ names: ["URI:keelson:a"], validFrom: new Date(Date.now() + DAY_MS / 2) }),
    logged: "its certificate isn't valid yet",
  },
  {
    name: "a certificate of another authority",
    open: withCertificate({ names: ["URI:keelson:a"] }, new TestAuthority("another")),
    logged: "signed by an authority that isn't in this node's ca",
  },
  {
    name: "a certificate of another authority with the same name",
    open: withCertificate({ names: ["URI:keelson:a"] }, new TestAuthority()),
    logged: "its certificate isn't signed by the authority in this node's ca",
  },
  {
    name: "a certificate for servers only",
    open: withCertificate({ names: ["URI:keelson:a"], usages: [SERVER_AUTH] }),
    logged: "its certificate isn't for this use",
  },
  {
    name: "the certificate of another node",
    open: overTls(authority.node("c")),
    logged: 'refused ADDRESS (a at a:7000): its certificate "CN=c" is for c, not for a of this cluster',
  },
  {
    name: "an inquiry with the certificate of another node",
    open: overTls(authority.node("c"), inquiry({ clusterId: CLUSTER, to: "b" })),
    logged: 'its certificate "CN=c" is for c, not for a',
  },
  {
    name: "the victim's own id with another node's certificate",
    open: overTls(
      authority.node("a"),
      hello({ clusterId: CLUSTER, from: { ...identity, id: "b" }, to: "b" }),
    ),
    logged: 'its certificate "CN=a" is for a, not for b',
  },
  {
    name: "a certificate without a name",
    open: withCertificate({ commonName: "a" }),
    logged: 'its certificate "CN=a" names no node: it needs the alternative name URI:keelson:a',
  },
  ...LOOKALIKES.map((names) => ({
    name: `a certificate for ${names.join(", ")}`,
    open: withCertificate({ names }),
    logged: "its certificate",
  })),
  {
    name: "TLS 1.2",
    open: overTls({ ...authority.node("a"), minVersion: "TLSv1.2", maxVersion: "TLSv1.2" }),
    logged: "it doesn't speak TLS 1.3",
  },
  { name: "a plain hello", open: plainly(greeting), logged: "it doesn't speak TLS: give it a key" },
  { name: "HTTP", open: plainly("GET / HTTP/1.1\r\nHost: b\r\n\r\n"), logged: "it doesn't speak TLS" },
  { name: "a handshake that ends in the middle", open: plainly(firstHello, true), logged: null },
  { name: "a handshake that stops in the middle", open: plainly(firstHello), logged: null },
  { name: "silence", open: plainly(""), logged: null },
];

describe("a node with TLS refuses before it reads any state", () => {
  it.each(ATTEMPTS)("$name", async ({ open, logged }) => {
    const rig = tlsRig({ handshakeTimeoutMs: 400 });
    const { node, questions, port } = await victim(rig);
    attempts++;
    const socket = open(port);
    const text = await heard(socket);
    for (const secret of PRIVATE) expect(text).not.toContain(secret);
    expect([node.host.events, questions]).toEqual([[], []]);
    const lines = node.host.logs.map((line) => line.replace(/127\.0\.0\.1:\d+/, "ADDRESS"));
    if (logged === null) expect(lines).toEqual([]);
    else expect(lines).toEqual([expect.stringContaining(logged)]);
    await node.transport.close();
  });

  it("although a session of an accepted connection is resumed without a certificate", async () => {
    const rig = tlsRig();
    const { node, questions, port } = await victim(rig);
    const sessions: Buffer[] = [];
    const first = overTls(authority.node("a"))(port);
    first.on("session", (session: Buffer) => sessions.push(session));
    await rig.until(() => node.host.events.includes("met a"), "the connection of a");
    await sleep(50);
    first.destroy();
    questions.length = 0;
    // With the tickets of Node's defaults there would be two. There may be some, which are good for nothing.
    for (const session of [...sessions, undefined]) {
      attempts++;
      await heard(overTls({ session })(port));
    }
    expect(questions).toEqual([]);
    expect(node.host.events).toEqual(["met a"]);
    await node.transport.close();
  });

  it("and lets a member in while strangers start hundreds of handshakes [B22]", async () => {
    const rig = tlsRig();
    const { node, questions, port } = await victim(rig);
    const strangers = Array.from({ length: 300 }, (_, at) => {
      attempts++;
      const socket = at % 3 === 0 ? overTls({})(port) : plainly(at % 3 === 1 ? firstHello : "")(port);
      return socket.on("error", () => undefined);
    });
    const member = await TestNode.start(rig, "a", CLUSTER);
    member.knows(node);
    await member.reaches(rig, node);
    expect(questions.length).toBeGreaterThan(0);
    expect(node.host.peers.map(({ id }) => id)).toEqual(["a"]);
    // Those in a TLS handshake are counted like all others.
    await rig.until(
      () => strangers.filter(({ destroyed }) => !destroyed).length <= 16,
      "the end of all but 16 handshakes of this host",
    );
    for (const socket of strangers) socket.destroy();
    await Promise.all([node.transport.close(), member.transport.close()]);
  });
});

interface Impostor {
  readonly name: string;
  readonly server: () => net.Server;
  readonly logged: string;
}

function tlsServer(options: tls.TlsOptions): () => net.Server {
  return () => tls.createServer(options);
}

const IMPOSTORS: readonly Impostor[] = [
  {
    name: "the certificate of another node",
    server: tlsServer(authority.node("c")),
    logged: 'its certificate "CN=c" is for c, not for b',
  },
  {
    name: "a certificate for its host name only",
    server: tlsServer(authority.issue({ commonName: "localhost", names: ["DNS:localhost", "DNS:b"] })),
    logged: "names no node",
  },
  {
    name: "a certificate of another authority",
    server: tlsServer(new TestAuthority("another").node("b")),
    logged: "signed by an authority that isn't in this node's ca",
  },
  {
    name: "an expired certificate",
    server: tlsServer(authority.issue({ names: ["URI:keelson:b"], validTo: new Date(Date.now() - 1000) })),
    logged: "its certificate has expired",
  },
  {
    name: "TLS 1.2",
    server: tlsServer({ ...authority.node("b"), maxVersion: "TLSv1.2", minVersion: "TLSv1.2" }),
    logged: "it doesn't speak TLS 1.3",
  },
  {
    name: "no TLS",
    server: () => net.createServer((socket) => socket.write(greeting)),
    logged: "it doesn't speak TLS",
  },
];

describe("a node with TLS says nothing to an address that answers with", () => {
  it.each(IMPOSTORS)("$name", async ({ server: make, logged }) => {
    const rig = tlsRig();
    const server = make();
    const spoken: Buffer[] = [];
    server.on(server instanceof tls.Server ? "secureConnection" : "connection", (socket: net.Socket) => {
      attempts++;
      socket.on("error", () => undefined);
      // What the plain one gets is the beginning of a TLS handshake.
      if (server instanceof tls.Server) socket.on("data", (bytes: Buffer) => spoken.push(bytes));
    });
    server.on("tlsClientError", () => undefined);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = `127.0.0.1:${String((server.address() as net.AddressInfo).port)}`;
    const node = await TestNode.start(rig, "a", CLUSTER);
    node.transport.setPeers(new Map([["b", [address]]]));
    await rig.until(() => node.host.logs.some((line) => line.includes(logged)), "the line in the log");
    const refusal = await node.transport.refusalAt?.("b", address);
    const inquired = await node.transport.inquireAt?.("b", address, CLUSTER);
    if (logged.includes("TLS")) {
      // Without a certificate to look at, nobody has answered.
      expect([refusal, inquired]).toEqual([null, { type: "silence" }]);
    } else {
      expect(refusal).toContain("this node doesn't trust what answers there: ");
      expect(refusal).toContain(logged);
      expect(inquired).toEqual({ type: "refusal", reason: refusal });
    }
    expect(Buffer.concat(spoken).length).toBe(0);
    expect(node.host.events).toEqual([]);
    await node.transport.close();
    server.close();
  });
});
