import { mkdtempSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { alternativeNamesIn } from "../../environment/node/node-tls.ts";
import { nodeEnvironment } from "../../environment/node/node-environment.ts";
import { TestAuthority } from "../../environment/test/certificates.ts";
import { pair, TestHost, TestNode } from "../../testing/suites/transport/test-node.ts";
import type { TransportRig } from "../../testing/suites/transport/transport-rig.ts";
import type { PeerTls } from "./peer-security.ts";
import { tcp, type TcpOptions } from "./tcp-transport.ts";
import { loopbackRig, sleep } from "./test/rig.ts";

const SECRET = "s".repeat(16) + "ecret0123456789!";
const directory = mkdtempSync(path.join(tmpdir(), "keelson-tls-"));
afterAll(() => rmSync(directory, { recursive: true }));

const authority = new TestAuthority();

function file(name: string, text: string): { readonly file: string } {
  writeFileSync(path.join(directory, name), text);
  return { file: path.join(directory, name) };
}

/** The options for node `id`, with its certificate in files. */
function filesOf(id: string, { cert, key } = authority.node(id)): PeerTls {
  return {
    key: file(`${id}.key`, key),
    cert: file(`${id}.pem`, cert),
    ca: file(`${id}-ca.pem`, authority.cert),
  };
}

/** Starts a node and closes it; rejects if it can't be started. */
async function start(options: Partial<TcpOptions>, id = "a"): Promise<TestHost> {
  const host = new TestHost(id, nodeEnvironment(), "shop/0123");
  const transport = tcp({ listen: "127.0.0.1:0", ...options });
  try {
    await transport.start(host);
  } finally {
    await transport.close();
  }
  return host;
}

describe("the options tls and secret", () => {
  const good = authority.node("a");
  const ca = authority.cert;
  it.each([
    [{ tls: { ...good, ca: "" } }, "tls.ca is missing"],
    [{ tls: { key: good.key, ca } as unknown as PeerTls }, "tls.cert is missing"],
    [{ tls: { ...good, ca: { file: "/nowhere/ca.pem" } } }, "/nowhere/ca.pem can't be read: ENOENT"],
    [{ tls: { ...good, ca: "no PEM" } }, "ca holds no certificate in PEM form"],
    [{ tls: { ...good, cert: good.key, ca } }, "cert holds no certificate in PEM form"],
    [{ tls: { ...good, key: "no PEM", ca } }, "tls: "],
    [{ tls: { ...good, key: authority.node("a").key, ca } }, "the key isn't that of the certificate"],
    [{ tls: { ...authority.node("b"), ca } }, '"CN=b" is for b, not for a of this cluster'],
    [{ tls: { ...authority.issue({ names: ["DNS:a"] }), ca } }, "needs the alternative name URI:keelson:a"],
    [{ secret: "too short" }, "tcp: secret can't be used: it should be one secret"],
    [{ secret: "with spaces ".repeat(4) }, "32 to 1024 visible ASCII characters"],
    [{ secret: [] }, "tcp: secret can't be used"],
    [{ secret: Array.from({ length: 5 }, () => SECRET) }, "up to 4"],
    [{ secret: { file: "/nowhere/secret" } }, "/nowhere/secret can't be read"],
  ])("make the node refuse to start with the reason: %#", async (options, reason) => {
    const error: unknown = await start(options as Partial<TcpOptions>).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({ code: "INVALID_OPTION" });
    expect(String(error)).toContain(reason);
    expect(String(error)).not.toMatch(/too short|with spaces|PRIVATE KEY|sssss/);
  });

  it.each([["URI:keelson:a"], ["URI:keelson:shop/a"], ["URI:keelson:b, and others"], ["DNS:db1.example"]])(
    "accept a certificate that names the node, also among others: %s",
    async (name) => {
      const names = [
        "DNS:x",
        name,
        ...(name.startsWith("URI:keelson:b") || name.startsWith("DNS") ? ["URI:keelson:a"] : []),
      ];
      const host = await start({ tls: { ...authority.issue({ names }), ca } });
      expect(host.logs).toEqual([]);
    },
  );

  it("take another way to find the node's id in a certificate", async () => {
    const certificate = authority.issue({ commonName: "a", names: ["DNS:a.nodes.example"] });
    const identify: PeerTls["identify"] = ({ alternativeNames }) =>
      alternativeNames.filter(({ type }) => type === "DNS").map(({ value }) => value.replace(/\..*/, ""));
    await expect(start({ tls: { ...certificate, ca, identify } })).resolves.toBeDefined();
    const broken = (): never => {
      throw new Error("broken");
    };
    await expect(start({ tls: { ...certificate, ca, identify: broken } })).rejects.toThrow("names no node");
  });

  it("are about names as a whole, whatever is in them", () => {
    expect(alternativeNamesIn('DNS:a, URI:"x, URI:keelson:a", IP Address:10.0.0.1')).toEqual([
      { type: "DNS", value: "a" },
      { type: "URI", value: "x, URI:keelson:a" },
      { type: "IP Address", value: "10.0.0.1" },
    ]);
    expect(alternativeNamesIn('URI:keelson:a, URI:"x')).toEqual([]);
  });
});

describe("a node in reach of other machines", () => {
  const exposed = { listen: "0.0.0.0:0", advertise: "db1.example:7001" };
  it.each([
    [
      "without TLS and secret",
      exposed,
      /^warn: other machines can reach the port for other nodes, 0\.0\.0\.0:/,
    ],
    ["with a secret", { ...exposed, secret: SECRET }, null],
    ["with TLS", { ...exposed, tls: { ...authority.node("a"), ca: authority.cert } }, null],
    ["not at all, at a loopback address", {}, null],
    ["not at all, at a name of the loopback address", { listen: "localhost:0" }, null],
  ])("%s warns about it, or doesn't need to", async (_name, options, warning) => {
    const { logs } = await start(options);
    expect(logs).toEqual(warning === null ? [] : [expect.stringMatching(warning)]);
  });
});

describe("certificates in files", () => {
  /** Node a connects to b anew. */
  async function reconnect(rig: TransportRig, a: TestNode, b: TestNode): Promise<void> {
    a.transport.setPeers(new Map());
    await sleep(50);
    a.knows(b);
    await a.reaches(rig, b);
  }

  it("are replaced while the node runs, and a broken replacement changes nothing [MONO]", async () => {
    const rig = loopbackRig((id) => ({ tls: filesOf(id), reloadMs: 20 }));
    const [a, b] = await pair(rig);
    const logs = (node: TestNode): string => node.host.logs.join("\n");
    // Half of a new pair, then a certificate that is for another node: the old ones stay in use.
    const next = authority.node("a");
    file("a.pem", next.cert);
    await rig.until(() => logs(a).includes("the key isn't that of the certificate"), "the first fault");
    await reconnect(rig, a, b);
    file("a.pem", "");
    await rig.until(() => logs(a).includes("cert holds no certificate"), "the second fault");
    filesOf("a", authority.node("c"));
    await rig.until(() => logs(a).includes("is for c, not for a"), "the third fault");
    unlinkSync(path.join(directory, "a.key"));
    await rig.until(() => logs(a).includes("a.key can't be read"), "the fourth fault");
    await sleep(100);
    await reconnect(rig, a, b);
    const warnings = a.host.logs.filter((line) => line.startsWith("warn"));
    expect(warnings).toHaveLength(new Set(warnings).size);
    // The whole pair, by links that are turned, as Kubernetes does it.
    file("new.pem", next.cert);
    unlinkSync(path.join(directory, "a.pem"));
    symlinkSync("new.pem", path.join(directory, "a.pem"));
    file("a.key", next.key);
    await rig.until(() => logs(a).includes("new certificates for the other nodes are in use"), "the news");
    await reconnect(rig, a, b);
    await Promise.all([a.transport.close(), b.transport.close()]);
  });

  it("are tried again after each reading, and the fault is logged once, until they can be used", async () => {
    let isKnown = true;
    const identify: PeerTls["identify"] = () => (isKnown ? ["a"] : []);
    const rig = loopbackRig((id) => ({ tls: { ...filesOf(id), identify }, reloadMs: 20 }));
    const a = await TestNode.start(rig, "a");
    const has = (text: string): boolean => a.host.logs.some((line) => line.includes(text));
    isKnown = false;
    filesOf("a");
    await rig.until(() => has("names no node"), "the fault");
    await sleep(100);
    isKnown = true;
    await rig.until(() => has("new certificates for the other nodes are in use"), "the news");
    expect(a.host.logs.filter((line) => line.includes("names no node"))).toHaveLength(1);
    await a.transport.close();
  });

  it("are used by the listening side too, and an authority that was taken out counts no more", async () => {
    const rig = loopbackRig((id) => ({ tls: filesOf(id), reloadMs: 20, backoffMaxMs: 50 }));
    const [a, b] = await pair(rig);
    const other = new TestAuthority("another");
    const both = authority.cert + other.cert;
    const news = (node: TestNode): number =>
      node.host.logs.filter((line) => line.includes("new certificates")).length;
    // First both trust both, then each gets a new certificate, then the old authority goes.
    for (const id of ["a", "b"]) file(`${id}-ca.pem`, both);
    await rig.until(() => news(a) >= 1 && news(b) >= 1, "both authorities");
    for (const id of ["a", "b"]) filesOf(id, other.node(id));
    for (const id of ["a", "b"]) file(`${id}-ca.pem`, both);
    await rig.until(() => news(a) >= 2 && news(b) >= 2, "the new certificates");
    await reconnect(rig, a, b);
    await reconnect(rig, b, a);
    for (const id of ["a", "b"]) file(`${id}-ca.pem`, other.cert);
    await rig.until(() => news(a) >= 3 && news(b) >= 3, "the new authority alone");
    await reconnect(rig, a, b);
    // A third node with the old authority's certificate is a stranger to both now.
    const old = await TestNode.start(
      loopbackRig(() => ({ tls: { ...authority.node("c"), ca: both } })),
      "c",
    );
    old.knows(a);
    await rig.until(
      () => a.host.logs.some((line) => line.includes("signed by an authority that isn't in this node's ca")),
      "the refusal",
    );
    expect(a.host.peers.map(({ id }) => id)).not.toContain("c");
    await Promise.all([a, b, old].map(({ transport }) => transport.close()));
  });

  it("are warned about when their end comes near", async () => {
    const soon = authority.issue({ names: ["URI:keelson:a"], validTo: new Date(Date.now() + 60_000) });
    const { logs } = await start({ tls: filesOf("a", soon) });
    expect(logs).toEqual([expect.stringMatching(/^warn: this node's certificate .* only: renew it$/)]);
    const over = authority.issue({ names: ["URI:keelson:a"], validTo: new Date(Date.now() - 60_000) });
    const late = await start({ tls: filesOf("a", over) });
    expect(late.logs).toEqual([expect.stringContaining("has expired")]);
  });

  it("are as good as a secret in a file, with one on each line", async () => {
    const rig = loopbackRig((id) => ({ secret: file(`${id}.secret`, `${SECRET}\n`), reloadMs: 20 }));
    const [a, b] = await pair(rig);
    const next = "n".repeat(40);
    const news = (node: TestNode, count: number): boolean =>
      node.host.logs.includes(
        `info: the secret in the file was replaced, and is in use; there are ${String(count)}`,
      );
    file("b.secret", `${next}\r\n${SECRET}\r\n`);
    await rig.until(() => news(b, 2), "the news of b");
    file("a.secret", `${next}\n`);
    await rig.until(() => news(a, 1), "the news of a");
    await reconnect(rig, a, b);
    file("a.secret", "short\n");
    await rig.until(() => a.host.logs.some((line) => line.includes("a.secret can't be used")), "the fault");
    expect(a.host.logs.join("\n")).not.toContain(next);
    await reconnect(rig, a, b);
    await Promise.all([a.transport.close(), b.transport.close()]);
  });
});

describe("nodes with different kinds of protection", () => {
  const tls = (id: string): Partial<TcpOptions> => ({ tls: { ...authority.node(id), ca: authority.cert } });
  const kinds: Readonly<Record<string, (id: string) => Partial<TcpOptions>>> = {
    "no protection": () => ({}),
    "a secret": () => ({ secret: SECRET }),
    TLS: tls,
    "TLS and a secret": (id) => ({ ...tls(id), secret: SECRET }),
  };
  const pairs = Object.keys(kinds).flatMap((one) => Object.keys(kinds).map((other) => [one, other] as const));
  const noTls = "it doesn't speak TLS: give it a key";
  const isTls = "the other end speaks TLS, and this node doesn't";
  const wantsProof = "the other end wants to prove a shared secret, and this node has none";
  const noProof = "the other end doesn't prove the shared secret that this node has";
  const closed = "before it answered the handshake; its own log may say why";
  /** What the log of the node that dials says, and that of the other one, by their kinds. */
  const said: Readonly<Record<string, readonly (string | null)[]>> = {
    "no protection, a secret": [closed, noProof],
    "no protection, TLS": [closed, noTls],
    "no protection, TLS and a secret": [closed, noTls],
    "a secret, no protection": [noProof, wantsProof],
    "a secret, TLS": [null, noTls],
    "a secret, TLS and a secret": [null, noTls],
    "TLS, no protection": [noTls, isTls],
    "TLS, a secret": [null, isTls],
    "TLS, TLS and a secret": [closed, noProof],
    "TLS and a secret, no protection": [noTls, isTls],
    "TLS and a secret, a secret": [null, isTls],
    "TLS and a secret, TLS": [noProof, wantsProof],
  };

  it.each(pairs)(
    "%s and %s: exchange messages if it is the same, and say what is wrong else",
    async (one, other) => {
      const rig = loopbackRig((id) => ({ ...kinds[id === "a" ? one : other]?.(id), backoffMaxMs: 50 }));
      const a = await TestNode.start(rig, "a");
      const b = await TestNode.start(rig, "b");
      a.knows(b);
      if (one === other) {
        await a.reaches(rig, b);
      } else {
        const expected = said[`${one}, ${other}`] ?? ["?"];
        const hasSaid = ({ host }: TestNode, text: string | null | undefined): boolean =>
          text === null || text === undefined || host.logs.some((line) => line.includes(text));
        await rig.until(() => hasSaid(a, expected[0]) && hasSaid(b, expected[1]), "the lines in the logs");
        expect([a.host.events, b.host.events]).toEqual([[], []]);
      }
      await Promise.all([a.transport.close(), b.transport.close()]);
    },
  );
});
