/** Reads what LevelDB itself wrote, and damages every part of it. */
import { randomBytes } from "node:crypto";
import { cpSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { ClassicLevel } from "classic-level";
import { describe, expect, it } from "vitest";
import { temporaryDirectory } from "../test/temporary.ts";
import { MalformedError } from "./byte-cursor.ts";
import { crc32c, unmasked } from "./crc32c.ts";
import { readLogRecords } from "./log-records.ts";
import { readManifest } from "./manifest.ts";
import { decompress } from "./snappy.ts";
import { entriesOf, readBlock, readTableBlocks, verifyBlock } from "./table.ts";
import { damageInTables } from "./verify-tables.ts";

type Options = ConstructorParameters<typeof ClassicLevel<string, Buffer>>[1];

/** A closed database with these entries, in tables. */
async function database(
  entries: ReadonlyMap<string, Buffer>,
  options: Options = {},
): Promise<{ readonly directory: string; readonly tables: string[] }> {
  const directory = path.join(temporaryDirectory(), "db");
  const level = new ClassicLevel<string, Buffer>(directory, { ...options, valueEncoding: "buffer" });
  for (const [key, value] of entries) await level.put(key, value);
  await level.compactRange("", "~");
  await level.close();
  const tables = (await readManifest(directory)).tables.map(({ name }) => path.join(directory, name));
  return { directory, tables };
}

function entriesIn(table: string): Map<string, Buffer> {
  const file = readFileSync(table);
  const found = new Map<string, Buffer>();
  for (const handle of readTableBlocks(file).data)
    for (const { key, value } of entriesOf(readBlock(file, handle)))
      found.set(Buffer.from(key.subarray(0, -8)).toString(), Buffer.from(value));
  return found;
}

const SMALL = new Map(Array.from({ length: 300 }, (_, n) => [`key ${n}`, Buffer.from(`value ${n}`)]));

describe("CRC-32C", () => {
  it("is that of RFC 3720, B.4", () => {
    expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283);
    expect(crc32c(Buffer.alloc(32))).toBe(0x8a9136aa);
    expect(crc32c(Buffer.alloc(32, 0xff))).toBe(0x62a8ab43);
    expect(crc32c(Buffer.from(Array.from({ length: 32 }, (_, n) => n)))).toBe(0x46dd794e);
    expect(crc32c(Buffer.from("x123456789x"), 1, 10)).toBe(0xe3069283);
  });
});

describe("tables of LevelDB", () => {
  it.each<[string, ReadonlyMap<string, Buffer>, Options]>([
    ["small entries, compressed", SMALL, {}],
    ["small entries, not compressed", SMALL, { compression: false }],
    [
      "large and empty values",
      new Map([
        ["a", randomBytes(300_000)],
        ["b", Buffer.alloc(0)],
        ["c", Buffer.alloc(99_999, "ab")],
      ]),
      {},
    ],
    [
      "repeated values",
      new Map(Array.from({ length: 500 }, (_, n) => [`k${n}`, Buffer.alloc(n, "abc")])),
      {},
    ],
  ])("are read as they were written: %s", async (_, entries, options) => {
    const { directory, tables } = await database(entries, options);
    const found = new Map(tables.flatMap((table) => [...entriesIn(table)]));
    expect(new Map([...found].sort())).toEqual(new Map([...entries].sort()));
    expect(await damageInTables(directory)).toBeNull();
  });

  it("with any bit flipped outside of the footer's padding are damaged (Z3)", async () => {
    const { directory, tables } = await database(SMALL);
    const [table] = tables;
    if (table === undefined) throw new Error("there is no table");
    const sound = readFileSync(table);
    const isNoticed = (file: Buffer): boolean => {
      try {
        for (const block of readTableBlocks(file).data) verifyBlock(file, block);
        return false;
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedError);
        return true;
      }
    };
    expect(isNoticed(sound)).toBe(false);
    const unnoticed: number[] = [];
    for (let at = 0; at < sound.length; at++) {
      const damaged = Buffer.from(sound);
      damaged.writeUInt8(damaged.readUInt8(at) ^ (1 << (at % 8)), at);
      if (!isNoticed(damaged)) unnoticed.push(at);
    }
    // The footer: two handles, here of 6 bytes, then zeros that nothing reads, up to the magic number.
    const padding = [sound.length - 48 + 6, sound.length - 8] as const;
    expect(unnoticed.filter((at) => at < padding[0] || at >= padding[1])).toEqual([]);
    sound.writeUInt8(sound.readUInt8(10) ^ 1, 10);
    writeFileSync(table, sound);
    expect(await damageInTables(directory)).toMatch(
      /\.ldb: the block at offset 0 does not match its checksum$/,
    );
    for (const bytes of [sound.length - 1, 3_000_000_000]) {
      truncateSync(table, bytes);
      expect(await damageInTables(directory)).toBe(
        `${table}: it has ${bytes} bytes instead of ${sound.length}`,
      );
    }
  });

  it("that the manifest does not name are left out: a crash can leave half a table", async () => {
    const { directory } = await database(SMALL);
    writeFileSync(path.join(directory, "009999.ldb"), "half of a table");
    expect(await damageInTables(directory)).toBeNull();
  });

  it("are not looked for if there is no database, or LevelDB itself will call it damaged", async () => {
    expect(await damageInTables(path.join(temporaryDirectory(), "none"))).toBeNull();
    const { directory, tables } = await database(SMALL);
    rmSync(tables[0] ?? "");
    expect(await damageInTables(directory)).toBeNull();
    writeFileSync(path.join(directory, "CURRENT"), "");
    expect(await damageInTables(directory)).toBeNull();
  });

  it("can be verified while the database is open and writes", async () => {
    const directory = path.join(temporaryDirectory(), "db");
    const level = new ClassicLevel<string, Buffer>(directory, {
      valueEncoding: "buffer",
      writeBufferSize: 65_536,
    });
    for (let n = 0; n < 3000; n++) {
      await level.put(`key ${(n * 7) % 500}`, randomBytes(1000));
      if (n % 100 === 0) expect(await damageInTables(directory)).toBeNull();
    }
    await level.close();
  });
});

describe("log files of LevelDB", () => {
  const logOf = (directory: string): string =>
    path.join(directory, readdirSync(directory).find((name) => name.endsWith(".log")) ?? "");

  it("are read up to what was being written, or up to the first damage", async () => {
    const directory = path.join(temporaryDirectory(), "db");
    const level = new ClassicLevel<string, Buffer>(directory, { valueEncoding: "buffer" });
    // The second record takes three blocks of the file.
    for (const bytes of [10, 70_000, 10]) await level.put("k", randomBytes(bytes));
    await level.close();
    const file = readFileSync(logOf(directory));
    expect(readLogRecords(file)).toMatchObject({ incompleteBytes: 0, damagedAt: null });
    expect(readLogRecords(file).records.map(({ length }) => length > 50_000)).toEqual([false, true, false]);
    expect(readLogRecords(file.subarray(0, -1))).toMatchObject({ records: [{}, {}], damagedAt: null });
    expect(readLogRecords(file.subarray(0, 60_000))).toMatchObject({ records: [{}], damagedAt: null });
    expect(readLogRecords(Buffer.concat([file, Buffer.alloc(100)]))).toMatchObject({
      records: [{}, {}, {}],
      incompleteBytes: 100,
      damagedAt: null,
    });
    const damaged = Buffer.from(file);
    damaged.writeUInt8(damaged.readUInt8(100) ^ 1, 100);
    expect(readLogRecords(damaged)).toMatchObject({ records: [{}], damagedAt: expect.any(Number) as number });
  });

  it("that begin in the middle of a record are damaged", () => {
    const fragment = Buffer.from([0, 0, 0, 0, 1, 0, 4, 9]);
    const sum = crc32c(fragment, 6);
    fragment.writeUInt32LE(((((sum >>> 15) | (sum << 17)) >>> 0) + 0xa282ead8) % 2 ** 32, 0);
    expect(unmasked(fragment.readUInt32LE(0))).toBe(sum);
    expect(readLogRecords(fragment)).toEqual({ records: [], incompleteBytes: 8, damagedAt: 0 });
  });
});

describe("the manifest", () => {
  it("with a flipped bit is refused, or names the files of an earlier moment", async () => {
    const { directory, tables } = await database(SMALL);
    const { name } = await readManifest(directory);
    const copy = path.join(temporaryDirectory(), "copy");
    cpSync(directory, copy, { recursive: true });
    const sound = readFileSync(path.join(directory, name));
    let refused = 0;
    for (let at = 0; at < sound.length; at++) {
      const damaged = Buffer.from(sound);
      damaged.writeUInt8(damaged.readUInt8(at) ^ (1 << (at % 8)), at);
      writeFileSync(path.join(copy, name), damaged);
      const found = await readManifest(copy).catch((error: unknown) => {
        expect(error).toBeInstanceOf(MalformedError);
        refused += 1;
        return null;
      });
      if (found !== null) expect(found.tables.length).toBeLessThanOrEqual(tables.length);
    }
    expect(refused).toBeGreaterThan(sound.length * 0.9);
  });
});

describe("Snappy", () => {
  it.each([
    ["an empty block", [0], ""],
    ["a literal and a copy that reaches into itself", [6, 4, 97, 98, 0b0_01, 2], "ababab"],
    ["a copy with a distance of two bytes", [5, 0, 97, 0b1110, 1, 0], "aaaaa"],
  ])("decompresses %s", (_, bytes, text) => {
    expect(Buffer.from(decompress(Uint8Array.from(bytes))).toString()).toBe(text);
  });

  it.each([
    ["a copy before the beginning", [4, 0, 97, 0b1, 2]],
    ["a copy of distance 0", [4, 0, 97, 0b1, 0]],
    ["more than it says", [1, 4, 97, 98]],
    ["less than it says", [9, 0, 97]],
    ["a length that ends too early", [0x80]],
    ["a literal that ends too early", [9, 32, 97]],
    ["an enormous length", [0xff, 0xff, 0xff, 0xff, 0x7f]],
  ])("refuses %s", (_, bytes) => {
    expect(() => decompress(Uint8Array.from(bytes))).toThrow(MalformedError);
  });
});
