import { describe, expect, it, onTestFinished } from "vitest";
import path from "node:path";
import { temporaryDirectory } from "../src/test/temporary.ts";
import { freePorts } from "./support/ports.ts";
import { Keelson, run, until } from "./support/process.ts";

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
      ...["serve", "--id", id, "--data", path.join(this.#directory, id)],
      ...["--http", this.http(id), "--line", `127.0.0.1:${line}`, ...how],
    ]);
    onTestFinished(() => keelson.kill("SIGKILL"));
    return keelson;
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
    await until("it waits", () =>
      mistyped.stderr.includes("waiting for a leader: a majority of the voters n1, n2, n3 has to run"),
    );
    await mistyped.kill("SIGKILL");
    const nodes = IDS.map((id) => three.start(id, "--peers", three.list()));
    await three.ready();
    expect(nodes[0]?.stderr).toContain("n1 begins anew with the corrected --peers: nothing had come of");
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
