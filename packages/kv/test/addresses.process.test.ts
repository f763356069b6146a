import { describe, expect, it, onTestFinished } from "vitest";
import { rmSync } from "node:fs";
import path from "node:path";
import { temporaryDirectory } from "../src/test/temporary.ts";
import { freePorts } from "./support/ports.ts";
import { Keelson, pause, run, until } from "./support/process.ts";

const IDS = ["n1", "n2", "n3"] as const;

/** Three nodes, whose addresses for each other may be changed. */
class Three {
  readonly #directory = temporaryDirectory();
  readonly #clientPorts: readonly number[];
  /** Where each is: a port of this machine, by id. */
  ports: Readonly<Record<string, number>>;

  private constructor(ports: readonly number[]) {
    this.#clientPorts = ports.slice(3);
    this.ports = Object.fromEntries(IDS.map((id, at) => [id, ports[at] ?? 0]));
  }

  static async create(): Promise<Three> {
    return new Three(await freePorts(9));
  }

  list(ports = this.ports): string {
    return IDS.map((id) => `${id}=127.0.0.1:${ports[id] ?? 0}`).join(",");
  }

  http(id: string): string {
    return `127.0.0.1:${this.#clientPorts[IDS.findIndex((one) => one === id) * 2] ?? 0}`;
  }

  start(id: string, ...how: readonly string[]): Keelson {
    const line = this.#clientPorts[IDS.findIndex((one) => one === id) * 2 + 1] ?? 0;
    const keelson = new Keelson([
      ...["serve", "--id", id, "--data", this.directoryOf(id)],
      ...["--http", this.http(id), "--line", `127.0.0.1:${line}`, ...how],
    ]);
    onTestFinished(() => keelson.kill("SIGKILL"));
    return keelson;
  }

  directoryOf(id: string): string {
    return path.join(this.#directory, id);
  }

  async ready(): Promise<void> {
    for (const id of IDS) {
      await until(`${id} is ready`, async () => {
        const answer = await fetch(`http://${this.http(id)}/readyz`).catch(() => null);
        return answer?.status === 200;
      });
    }
  }
}

async function newPorts(): Promise<Readonly<Record<string, number>>> {
  const ports = await freePorts(3);
  return Object.fromEntries(IDS.map((id, at) => [id, ports[at] ?? 0]));
}

describe("addresses of members [Z21]", () => {
  it("may be corrected in --peers while the cluster has never had a leader", async () => {
    const three = await Three.create();
    const wrong = { ...three.ports, n2: (await freePorts(1))[0] ?? 0, n3: 1 };
    const mistyped = three.start("n1", "--peers", three.list(wrong));
    const others = ["n2", "n3"].map((id) => three.start(id, "--peers", three.list()));
    await until("each says why it waits", () => {
      const objection = "refuses: it was opened with other `members`";
      return (
        mistyped.stderr.includes(`n3 at 127.0.0.1:1 doesn't answer`) &&
        others.every(({ stderr }) =>
          stderr.includes(`n1 at 127.0.0.1:${three.ports["n1"] ?? 0} ${objection}`),
        )
      );
    });
    await mistyped.kill("SIGKILL");
    const nodes = [three.start("n1", "--peers", three.list())];
    await three.ready();
    await fetch(`http://${three.http("n1")}/kv/ship`, { method: "PUT", body: "Anna", redirect: "follow" });

    // From now on they are what the cluster began with.
    await nodes[0]?.kill("SIGTERM");
    const refused = three.start("n1", "--peers", three.list(wrong));
    expect((await refused.ended).code).toBe(1);
    expect(refused.stderr).toContain(`began with, ${three.list()}, and it has entries of that cluster`);
  });

  it("may all change at once: the new ones in --peers are refused with the way out, --reach", async () => {
    const three = await Three.create();
    const before = IDS.map((id) => three.start(id, "--peers", three.list()));
    await three.ready();
    const put = await fetch(`http://${three.http("n2")}/kv/ship`, { method: "PUT", body: "Anna" });
    expect(put.status).toBe(200);
    await Promise.all(before.map((node) => node.kill("SIGTERM")));

    const old = three.list();
    three.ports = await newPorts();
    const refused = three.start("n1", "--peers", three.list());
    expect((await refused.ended).code).toBe(1);
    expect(refused.stderr).toContain(`began with, ${old}, and it has entries of that cluster`);
    expect(refused.stderr).toContain("--reach n2=HOST:PORT,n3=HOST:PORT");
    for (const id of IDS) {
      three.start(id, "--listen", `127.0.0.1:${three.ports[id] ?? 0}`, "--reach", three.list());
    }
    await three.ready();
    const got = await fetch(`http://${three.http("n3")}/kv/ship`);
    expect(await got.text()).toBe("Anna");
    for (const id of IDS) {
      const moved = await run(["move", id, `127.0.0.1:${three.ports[id] ?? 0}`, "--url", three.http("n1")]);
      expect([moved.code, moved.stderr]).toEqual([0, ""]);
    }
  }, 60_000);
});

describe("members that lost their disks", () => {
  it("don't begin a new cluster when they are started as before, though they are a majority [M11]", async () => {
    const three = await Three.create();
    const start = (id: string): Keelson => three.start(id, "--peers", three.list());
    const nodes = IDS.map(start);
    await three.ready();
    const put = { method: "PUT", body: "Anna", redirect: "follow" } as const;
    expect((await fetch(`http://${three.http("n1")}/kv/ship`, put)).status).toBe(200);
    // The leader notes the store ids, two election timeouts after it came to lead.
    await pause(3000);
    await Promise.all(nodes.map((node) => node.kill("SIGKILL")));
    for (const id of ["n2", "n3"]) rmSync(three.directoryOf(id), { recursive: true });
    // First while the member that has the entry is down, then with it.
    const empty = ["n2", "n3"].map(start);
    await until("they wait", () =>
      empty.every(({ stderr }) => stderr.includes("creates its cluster once all")),
    );
    expect((await fetch(`http://${three.http("n2")}/readyz`)).status).toBe(503);
    start("n1");
    await until("they are refused", () => empty.every(({ stderr }) => stderr.includes("comes with a disk")));
    for (const id of IDS) expect((await fetch(`http://${three.http(id)}/readyz`)).status).toBe(503);
    const stale = await fetch(`http://${three.http("n1")}/members`);
    expect(await stale.json()).toMatchObject({ leader: null });
  }, 60_000);
});
