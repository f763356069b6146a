import { Chance, simulatedEnvironment } from "keelson/testing";
import { DatabaseDamagedError, type DatabaseOperation } from "keelson-kv";
import { describe, expect, it } from "vitest";

import { SimulatedFiles } from "../../packages/keelson/src/environment/simulated/simulated-files.ts";
import { LossyDatabase } from "./lossy-database.ts";

const bytes = (text: string): Buffer => Buffer.from(text);
const put = (key: string, value: string): DatabaseOperation => ({
  type: "put",
  key: bytes(key),
  value: bytes(value),
});
const del = (key: string): DatabaseOperation => ({ type: "del", key: bytes(key) });
const LATER = { sync: false };

function openOn(files: SimulatedFiles, writeBufferBytes = 1_000_000): Promise<LossyDatabase> {
  return LossyDatabase.open(simulatedEnvironment({ files }).files, "/data", { writeBufferBytes });
}

async function contentsOf(database: LossyDatabase): Promise<string> {
  const found: string[] = [];
  for await (const [key, value] of database.entries(bytes("a"), bytes("z"))) {
    found.push(`${Buffer.from(key).toString()}=${Buffer.from(value).toString()}`);
  }
  return found.join(" ");
}

describe("the database of the simulation", () => {
  it("is an ordered map whose batches outlive its process", async () => {
    const files = new SimulatedFiles();
    const database = await openOn(files);
    await database.batch([put("b", "1"), put("a", "x".repeat(700)), put("c", "3")], LATER);
    await database.batch([del("c"), put("a", "2")], LATER);
    files.kill();
    const again = await openOn(files);
    expect(await contentsOf(again)).toBe("a=2 b=1");
    expect(await again.get(bytes("b"))).toEqual(bytes("1"));
    expect(await again.get(bytes("c"))).toBeUndefined();
    expect(again.holes).toBe(0);
  });

  it("keeps what was synced, and all before it in its log file, when the power fails", async () => {
    const files = new SimulatedFiles();
    const database = await openOn(files);
    await files.syncDirectory("/data");
    await database.batch([put("a", "1")], LATER);
    await database.batch([put("b", "2")], { sync: true });
    await database.batch([put("c", "3")], LATER);
    files.crash(() => 0);
    expect(await contentsOf(await openOn(files))).toBe("a=1 b=2");
  });

  it("leaves out a damaged batch, keeps a later one, and knows that something is missing", async () => {
    const files = new SimulatedFiles();
    const database = await openOn(files);
    await database.batch([put("a", "1")], { sync: true });
    await database.batch([put("b", "x".repeat(700)), put("c", "2")], LATER);
    await database.batch([put("d", "3")], { sync: true });
    // As if a sector of the second had been lost.
    const [log = ""] = files.paths().filter((path) => path.endsWith(".log"));
    files.damage(log, 600, bytes("damage"));
    const again = await openOn(files);
    expect(await contentsOf(again)).toBe("a=1 d=3");
    expect(again.holes).toBeGreaterThan(0);
  });

  it("loses of the newest two log files what was not synced, and what is in tables never (Z2)", async () => {
    const files = new SimulatedFiles();
    const database = await openOn(files, 100);
    const big = "x".repeat(100);
    // Each fills a memtable, so that the next begins another.
    await database.batch([put("a", big)], LATER);
    await database.batch([put("b", big)], LATER);
    await database.batch([put("c", big)], LATER);
    await database.batch([put("d", "synced")], { sync: true });
    await files.syncDirectory("/data");
    files.crash(() => 0);
    const again = await openOn(files);
    // "c" fills the older of the newest two files: the sync of "d" was not for it.
    expect(await contentsOf(again)).toBe(`a=${big} b=${big} d=synced`);
    expect(again.holes).toBe(1);
  });

  it("knows that something is missing if its table is damaged", async () => {
    const files = new SimulatedFiles();
    const database = await openOn(files, 100);
    await database.batch([put("a", "x".repeat(100))], LATER);
    await database.checkpoint();
    files.kill();
    const [table = ""] = files.paths().filter((path) => path.endsWith(".ldb"));
    files.damage(table, 30, bytes("damage"));
    const again = await openOn(files);
    expect(await contentsOf(again)).toBe("");
    expect(again.holes).toBe(1);
  });

  it("has everything in tables after a checkpoint", async () => {
    const files = new SimulatedFiles();
    const database = await openOn(files, 100);
    for (const key of ["a", "b", "c"]) await database.batch([put(key, "x".repeat(100))], LATER);
    await database.batch([del("b")], LATER);
    await database.checkpoint();
    files.crash(() => 0);
    const again = await openOn(files);
    expect((await contentsOf(again)).replaceAll("x", "")).toBe("a= c=");
    expect(again.holes).toBe(0);
  });

  it("can't be opened after a power cut at its creation, if that took its manifest (Z5)", async () => {
    let damaged = 0;
    for (let seed = 1; seed <= 200; seed++) {
      const files = new SimulatedFiles();
      await (await openOn(files)).batch([put("a", "1")], LATER);
      const chance = new Chance(seed);
      files.crash(chance.random);
      try {
        await openOn(files);
      } catch (error) {
        expect(error).toBeInstanceOf(DatabaseDamagedError);
        damaged += 1;
      }
    }
    expect(damaged).toBeGreaterThan(0);
  });

  it("can be thrown away and begun anew", async () => {
    const files = new SimulatedFiles();
    const database = await openOn(files);
    await database.batch([put("a", "1")], { sync: true });
    await database.close();
    await LossyDatabase.remove(files, "/data");
    expect(await contentsOf(await openOn(files))).toBe("");
  });
});
