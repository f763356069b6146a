import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { connect } from "node:tls";
import { createInterface } from "node:readline";
import { expect, it, onTestFinished } from "vitest";
import { authorization } from "../src/access/token-file.ts";
import { Sender } from "../src/client/sender.ts";
import { KvClient } from "../src/index.ts";
import { TestAuthority } from "../src/test/certificates.ts";
import { freePorts } from "./support/ports.ts";
import { Keelson, run, until } from "./support/process.ts";

/**
 * Two nodes with TLS, client certificates and tokens, as real processes; and all that they and commands
 * print.
 */
class SecureCluster {
  readonly directory = mkdtempSync(path.join(tmpdir(), "keelson-secure-"));
  readonly authority = new TestAuthority();
  readonly clients = new TestAuthority("clients");
  /** Private parts that nothing may print: what tokens and keys are, by name. */
  readonly secrets = new Map<string, string>();
  readonly #ports: readonly number[];
  readonly #processes = new Map<string, Keelson>();
  #printed = "";

  private constructor(ports: readonly number[]) {
    this.#ports = ports;
  }

  static async create(): Promise<SecureCluster> {
    const cluster = new SecureCluster(await freePorts(6));
    cluster.put("ca.crt", cluster.authority.cert);
    cluster.put("clients.crt", cluster.clients.cert);
    // A node shows its certificate to other nodes too, when it asks to join.
    for (const [name, { cert, key }] of [
      ["server", cluster.authority.issue()],
      ["client", cluster.clients.issue()],
    ] as const) {
      cluster.put(`${name}.crt`, cert);
      cluster.put(`${name}.key`, key);
      cluster.secrets.set(`${name}.key`, key.split("\n")[1] ?? "");
    }
    cluster.put("both.crt", cluster.clients.cert + cluster.authority.cert);
    return cluster;
  }

  file(name: string): string {
    return path.join(this.directory, name);
  }

  put(name: string, text: string): void {
    writeFileSync(this.file(name), text, { mode: 0o600 });
  }

  token(name: string): string {
    const text = readFileSync(this.file(`${name}.token`), "utf8").trim();
    this.secrets.set(`${name}.token`, text);
    return text;
  }

  at(place: number): string {
    return `127.0.0.1:${this.#ports[place] ?? 0}`;
  }

  get urls(): string {
    return `https://${this.at(2)},https://${this.at(5)}`;
  }

  start(id: "n1" | "n2", ...more: string[]): void {
    const from = id === "n1" ? 0 : 3;
    const node = ["serve", "--id", id, "--data", this.file(id), "--log-level", "debug"];
    const ports = ["--listen", this.at(from), "--line", this.at(from + 1), "--http", this.at(from + 2)];
    const tls = ["--tls-cert", this.file("server.crt"), "--tls-key", this.file("server.key")];
    const access = ["--tls-client-ca", this.file("both.crt"), "--tokens-file", this.file("tokens")];
    this.#processes.set(id, new Keelson([...node, ...ports, ...tls, ...access, ...more]));
  }

  pid(id: string): number {
    return this.#processes.get(id)?.pid ?? 0;
  }

  stderr(id: string): string {
    return this.#processes.get(id)?.stderr ?? "";
  }

  /** Runs a command with the client's certificate. */
  async run(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
    const { code, stdout, stderr } = await run(args);
    this.#printed += `${stdout}${stderr}`;
    return { code, stdout, stderr };
  }

  command(
    token: string,
    ...args: string[]
  ): Promise<{ code: number | null; stdout: string; stderr: string }> {
    const tls = ["--tls-ca", "ca.crt", "--tls-cert", "client.crt", "--tls-key", "client.key"];
    const files = tls.map((part) => (part.startsWith("--") ? part : this.file(part)));
    return this.run(...args, "--url", this.urls, "--token-file", this.file(`${token}.token`), ...files);
  }

  get credentials(): { ca: string; cert: string; key: string } {
    const read = (name: string): string => readFileSync(this.file(name), "utf8");
    return { ca: read("ca.crt"), cert: read("client.crt"), key: read("client.key") };
  }

  /** All that any process has printed. */
  get printed(): string {
    return [...this.#processes.values()].reduce((text, one) => text + one.stdout + one.stderr, this.#printed);
  }

  async close(): Promise<void> {
    for (const process of this.#processes.values()) await process.kill("SIGKILL");
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** All files and directories in a directory, itself included. */
function within(directory: string): string[] {
  const entries = readdirSync(directory, { recursive: true }) as string[];
  return [directory, ...entries.map((entry) => path.join(directory, entry))];
}

it("a cluster with certificates and tokens works with the client and the commands, tells no secret, and keeps its files to itself", async () => {
  const cluster = await SecureCluster.create();
  onTestFinished(() => cluster.close());
  for (const [name, role] of [
    ["reader", "read"],
    ["writer", "write"],
    ["operator", "operate"],
  ] as const) {
    const out = ["--tokens-file", cluster.file("tokens"), "--out", cluster.file(`${name}.token`)];
    expect(await cluster.run("token", name, role, ...out)).toMatchObject({ code: 0 });
    cluster.token(name);
  }
  cluster.start("n1", "--peers", `n1=${cluster.at(0)}`);
  await until("n1 leads", () => cluster.stderr("n1").includes("n1 leads in term"));
  const joining = ["--join", `https://${cluster.at(2)}`, "--token-file", cluster.file("operator.token")];
  cluster.start("n2", ...joining, "--tls-ca", cluster.file("ca.crt"));
  await until(`n2 joined\n${cluster.printed}`, () => cluster.stderr("n2").includes("joined: a voter"));

  // A write that n2 redirects, over TLS, to the leader.
  const nodes = [cluster.at(5), cluster.at(2)];
  const options = { nodes, tls: cluster.credentials, token: cluster.token("writer") };
  const client = new KvClient(options);
  await client.put("ship", "Argo");
  await client.close();
  await expect(new KvClient({ ...options, token: cluster.token("reader") }).put("ship", "x")).rejects.toThrow(
    /the token reader has the role read, and this needs write/,
  );

  const members = await cluster.command("reader", "members");
  expect(members.code).toBe(0);
  expect(members.stdout).toMatch(/n1 \*.*voter[^]*n2 .*voter/);
  const refused = await cluster.command("writer", "transfer", "n2");
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain("this needs operate");
  expect(await cluster.command("operator", "transfer", "n2")).toMatchObject({ code: 0 });
  const backup = cluster.file("backup");
  // Another user can't have the backup written elsewhere, or keep it open to others.
  cluster.put("victim", "as it was");
  symlinkSync(cluster.file("victim"), `${backup}.part`);
  expect(await cluster.command("operator", "backup", backup)).toMatchObject({ code: 0 });
  expect(await cluster.command("reader", "status", "--json")).toMatchObject({ code: 0 });
  const stranger = await cluster.run("members", "--url", cluster.urls, "--tls-ca", cluster.file("ca.crt"));
  expect(stranger.code).toBe(1);
  expect(stranger.stderr).toMatch(/certificate|hung up|socket/);
  const restored = cluster.file("restored");
  const asNode = ["--id", "n9", "--address", cluster.at(0)];
  expect(await cluster.run("restore", backup, restored, ...asNode)).toMatchObject({ code: 0 });

  // The line port.
  const [host = "", port = ""] = cluster.at(1).split(":");
  const socket = connect({ host, port: Number(port), ...cluster.credentials });
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  socket.write(`get ship\nauth ${cluster.token("reader")}\nget ship\n`);
  const answers = [await lines.next(), await lines.next(), await lines.next()].map(
    ({ value }) => value as string,
  );
  expect(answers.slice(1)).toEqual(["Ok: reader may read", "Ok: Argo"]);
  socket.destroy();

  // A token that is taken back ends its rights while the node runs.
  const list = readFileSync(cluster.file("tokens"), "utf8");
  cluster.put("tokens", list.replace(/^reader .*\n/m, ""));
  await until("the changed list is in use", () =>
    ["n1", "n2"].every((id) => cluster.stderr(id).includes("the changed files are in use now")),
  );
  const former = await cluster.command("reader", "members");
  expect(former.code).toBe(1);
  expect(former.stderr).toContain("the token is wrong");

  // Nothing printed, shown or stored holds a secret.
  const sender = new Sender(cluster.credentials);
  const headers = authorization(cluster.token("operator"));
  const shown = ["/metrics", "/status", "/members", "/none"].map(async (target) =>
    (await sender.send(`https://${cluster.at(2)}`, target, { method: "GET", headers })).text(),
  );
  const titles = ["n1", "n2"].flatMap((id) =>
    ["cmdline", "environ"].map((name) => readFileSync(`/proc/${cluster.pid(id)}/${name}`, "latin1")),
  );
  const stored = [
    ...within(cluster.file("n1")),
    ...within(cluster.file("n2")),
    backup,
    cluster.file("tokens"),
  ]
    .filter((file) => statSync(file).isFile())
    .map((file) => readFileSync(file, "latin1"));
  const everything = [cluster.printed, ...answers, ...(await Promise.all(shown)), ...titles, ...stored].join(
    "\n",
  );
  expect(everything.length).toBeGreaterThan(10_000);
  const told = [...cluster.secrets].filter(([, secret]) => secret === "" || everything.includes(secret));
  expect(told.map(([name]) => name)).toEqual([]);
  expect(cluster.secrets.size).toBe(5);

  // Other users of the machine may not look.
  const files = ["n1", "n2", "restored"].flatMap((name) => within(cluster.file(name)));
  const open = [...files, backup, cluster.file("tokens"), cluster.file("reader.token")].filter(
    (file) => (statSync(file).mode & 0o077) !== 0,
  );
  expect(open).toEqual([]);
  expect(files.length).toBeGreaterThan(20);
  expect(readFileSync(cluster.file("victim"), "utf8")).toBe("as it was");
});
