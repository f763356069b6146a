/** Starts of a server whose directories were damaged or exchanged. */
import { cpSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import path from "node:path";
import { CorruptSnapshotError, StorageFailedError, WrongIdentityError } from "keelson";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { DatabaseOpenError } from "../store/database.ts";
import { temporaryDirectory } from "../test/temporary.ts";
import { KvServer } from "./kv-server.ts";

const KEYS = 40;

/** A port that was free a moment ago: a member's address must be known before it listens. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** One server, which is a cluster of its own. */
class Single {
  readonly data = path.join(temporaryDirectory(), "data");
  readonly lines: string[] = [];
  readonly #port: number;

  private constructor(port: number) {
    this.#port = port;
  }

  static async create(): Promise<Single> {
    return new Single(await freePort());
  }

  async start(): Promise<KvServer> {
    const any = { host: "127.0.0.1", port: 0 };
    const address = `127.0.0.1:${this.#port}`;
    const settings = {
      ...{ id: "n1", peers: { n1: address }, join: null, data: this.data, line: any, http: any },
      ...{ listen: { ...any, port: this.#port }, address, advertiseLine: null, advertiseHttp: null },
      ...{ clusterId: null, forward: false, adminTokenFile: null, adminOpen: false },
      snapshots: { keepEntries: 0, everyEntries: 1_000_000 },
    };
    const server = await KvServer.start(settings, (_, text) => void this.lines.push(text));
    onTestFinished(() => server.close());
    await vi.waitFor(() => {
      expect(server.raft.metrics().role).toBe("leader");
    }, 10_000);
    return server;
  }

  /** The values of k1 to k40, as the running server has them. */
  async values(server: KvServer): Promise<string[]> {
    const found: string[] = [];
    for (let key = 1; key <= KEYS; key++) {
      const answer = await fetch(`http://${server.addresses.http}/kv/k${key}`);
      found.push(answer.ok ? await answer.text() : `status ${answer.status}`);
    }
    return found;
  }

  /** Writes the keys, compacts the log behind a snapshot of the first half, and stops. */
  async fill(name: string): Promise<void> {
    const server = await this.start();
    for (let key = 1; key <= KEYS; key++) {
      const url = `http://${server.addresses.http}/kv/k${key}`;
      expect((await fetch(url, { method: "PUT", body: `${name} ${key}` })).status).toBe(200);
      if (key === KEYS / 2) await server.raft.snapshot();
    }
    expect(server.raft.metrics().firstIndex).toBeGreaterThan(KEYS / 2);
    await server.close();
  }

  part(name: "log" | "state" | "snapshots"): string {
    return path.join(this.data, name);
  }

  setAside(): string[] {
    return readdirSync(this.data).filter((name) => name.startsWith("state-damaged-"));
  }
}

function valuesOf(name: string): string[] {
  return Array.from({ length: KEYS }, (_, at) => `${name} ${at + 1}`);
}

describe("a server whose state is damaged, and whose log is compacted", () => {
  it("rebuilds it from the snapshot and the log", async () => {
    const single = await Single.create();
    await single.fill("v");
    writeFileSync(path.join(single.part("state"), "CURRENT"), "");
    expect(await single.values(await single.start())).toEqual(valuesOf("v"));
    expect(single.setAside()).toHaveLength(1);
  });

  it("doesn't start if no snapshot reaches to the log, and leaves everything as it is (Z5)", async () => {
    const single = await Single.create();
    await single.fill("v");
    const kept = `${single.part("snapshots")}-kept`;
    renameSync(single.part("snapshots"), kept);
    writeFileSync(path.join(single.part("state"), "CURRENT"), "");
    const starting = single.start();
    await expect(starting).rejects.toThrow(StorageFailedError);
    await expect(starting).rejects.toThrow(
      /the log begins after entry \d+, the state machine holds entry 0, and there is no snapshot of what lies between\. Bring back the snapshot/,
    );
    expect(single.lines.join("\n")).toMatch(/the state can't be used, and is rebuilt/);
    expect(single.setAside()).toEqual([]);
    // The advice is right: with the snapshot it starts, and has lost nothing.
    rmSync(single.part("snapshots"), { recursive: true, force: true });
    renameSync(kept, single.part("snapshots"));
    expect(await single.values(await single.start())).toEqual(valuesOf("v"));
  });

  it("doesn't start if the snapshot is damaged too, and names its file (Z5)", async () => {
    const single = await Single.create();
    await single.fill("v");
    const name = readdirSync(single.part("snapshots")).find((one) => one.startsWith("snapshot"));
    const file = path.join(single.part("snapshots"), name ?? "");
    cpSync(file, `${single.data}-kept`);
    writeFileSync(file, "damaged");
    writeFileSync(path.join(single.part("state"), "CURRENT"), "");
    const starting = single.start();
    await expect(starting).rejects.toThrow(CorruptSnapshotError);
    await expect(starting).rejects.toThrow(/the snapshot of what lies between is damaged: .*snapshot/);
    expect(single.setAside()).toEqual([]);
  });
});

describe("two servers that exchanged (Z4)", () => {
  it.each([
    ["their states", "state", DatabaseOpenError],
    ["their logs", "log", DatabaseOpenError],
    ["their snapshots", "snapshots", WrongIdentityError],
  ] as const)(
    "%s don't start, change nothing, and start again when they are exchanged back",
    async (_, part, error) => {
      const [one, other] = [await Single.create(), await Single.create()];
      await one.fill("one");
      await other.fill("other");
      const exchange = (): void => {
        renameSync(one.part(part), `${one.data}-moving`);
        renameSync(other.part(part), one.part(part));
        renameSync(`${one.data}-moving`, other.part(part));
      };
      exchange();
      await expect(one.start()).rejects.toThrow(error);
      await expect(other.start()).rejects.toThrow(error);
      expect([one.setAside(), other.setAside()]).toEqual([[], []]);
      exchange();
      expect(await one.values(await one.start())).toEqual(valuesOf("one"));
      expect(await other.values(await other.start())).toEqual(valuesOf("other"));
    },
  );
});
