import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { nodeEnvironment } from "keelson";
import { encodeMembership, encodeRecord, EntryKind } from "keelson/codec";
import { snapshotFiles } from "keelson/storage/snapshots";
import { inspectWal, wal } from "keelson/storage/wal";
import { encodeCommand } from "../store/commands.ts";
import { openDatabase } from "../store/level-database.ts";
import { dataKey, POSITION_KEY } from "../store/state-layout.ts";
import { KvStateMachine } from "../store/state-machine.ts";
import { inspect, parseInspectOptions, type InspectOptions } from "./inspect.ts";
import { temporaryDirectory } from "../test/temporary.ts";
import { UsageError } from "../shared/errors.ts";

/** A data directory with a log of four entries. */
async function dataWithLog(): Promise<string> {
  const data = temporaryDirectory();
  const log = wal(path.join(data, "log"));
  await log.open({ nodeId: "n1", clusterId: "c" }, nodeEnvironment());
  const membership = {
    config: { voters: ["n1", "n2"], outgoingVoters: [], learners: ["n3"] },
    members: new Map(["n1", "n2", "n3"].map((id) => [id, { address: `${id}:1` }])),
  };
  const put = encodeCommand({
    type: "put",
    key: Buffer.from("ship"),
    value: Buffer.from("Argo"),
    condition: { type: "absent" },
  });
  await log.append({
    hardState: { term: 2, votedFor: "n2" },
    truncateFrom: null,
    records: [
      encodeRecord(1, 1, EntryKind.config, encodeMembership(membership)),
      encodeRecord(2, 2, EntryKind.blank, new Uint8Array(0)),
      encodeRecord(3, 2, EntryKind.command, put),
      encodeRecord(4, 2, EntryKind.command, Uint8Array.of(0xff, 1)),
    ],
  });
  await log.close();
  return data;
}

async function printed(options: Partial<InspectOptions> & { readonly directory: string }) {
  const lines: string[] = [];
  const code = await inspect(
    { entries: null, json: false, running: false, ...options },
    (line) => void lines.push(line),
  );
  return { code, lines, text: lines.join("\n") };
}

describe("keelson inspect", () => {
  it("prints a sound log, given the data directory or the log's directory", async () => {
    const data = await dataWithLog();
    for (const directory of [data, path.join(data, "log")]) {
      const { code, text } = await printed({ directory });
      expect(code).toBe(0);
      expect(text).toContain("node      n1\n");
      expect(text).toContain("term      2, voted for n2\n");
      expect(text).toContain("ends      with entry 4 of term 2\n");
      expect(text).toContain("command   2 entries");
      expect(text).toContain(
        "members from entry 1 of term 1 on\n  n1  n1:1  voter\n  n2  n2:1  voter\n  n3  n3:1  learner\n",
      );
      expect(text).toMatch(/sound: every checksum( that was read)? is right$/);
    }
  });

  it("prints entries decoded, and entries of another program in hexadecimal", async () => {
    const directory = await dataWithLog();
    const { lines } = await printed({ directory, entries: { from: 1, to: null } });
    expect(lines.slice(lines.indexOf("entries") + 1, -1)).toEqual([
      "  1  term 1  config   voters n1 n2, learners n3",
      "  2  term 2  blank    0 bytes",
      '  3  term 2  command  put "ship" = "Argo" (4 bytes) if {"type":"absent"}',
      "  4  term 2  command  2 bytes: ff01",
    ]);
  });

  it("prints everything as JSON", async () => {
    const directory = await dataWithLog();
    const { text } = await printed({ directory, json: true, entries: { from: 4, to: 5 } });
    expect(JSON.parse(text)).toMatchObject({
      nodeId: "n1",
      last: { index: 4, term: 2 },
      memberships: [{ index: 1, voters: ["n1", "n2"], learners: ["n3"], addresses: { n3: "n3:1" } }],
      records: [{ index: 4, term: 2, kind: "command", payload: "/wE=" }],
      damage: null,
    });
  });

  it("says where a log is damaged and what can be read after it, and exits with 1", async () => {
    const data = await dataWithLog();
    const file = path.join(data, "log", "0000000000000001.wal");
    const bytes = readFileSync(file);
    bytes[600] = 0xff;
    writeFileSync(file, bytes);
    const { code, text } = await printed({ directory: data });
    expect(code).toBe(1);
    expect(text).toContain(`DAMAGED\n  the log is damaged: ${file}, offset 512: `);
    expect(text).toContain("Entry 1 and later ones may be affected.");
    expect(text).toContain("Before the damage: entries up to 0. Nothing after the damage can be read.");
  });

  it.each([
    [[], "DIR is missing"],
    [[""], "DIR is empty"],
    [["a", "b"], '"b" is one word too many'],
    [["a", "--entries", "0"], '--entries "0" is not FROM..TO, such as 1..20, 15.. or 7'],
    [["a", "--entries", "5..4"], '--entries "5..4" is not FROM..TO, such as 1..20, 15.. or 7'],
  ])("refuses %j and says what is wrong", (args, message) => {
    expect(() => parseInspectOptions(args)).toThrow(new UsageError(message));
  });

  it.each([
    ["7", { from: 7, to: 8 }],
    ["7..9", { from: 7, to: 10 }],
    ["7..", { from: 7, to: null }],
  ])("accepts --entries %s", (text, entries) => {
    expect(parseInspectOptions(["a", "--entries", text])).toEqual({
      directory: "a",
      json: false,
      running: false,
      entries,
    });
  });

  it("lists the snapshots beside the log, and exits with 1 if one is damaged", async () => {
    const directory = await dataWithLog();
    const snapshots = snapshotFiles(path.join(directory, "snapshots"));
    await snapshots.open(nodeEnvironment());
    const membership = encodeMembership({
      config: { voters: ["n1"], outgoingVoters: [], learners: ["n3"] },
      members: new Map(["n1", "n3"].map((id) => [id, { address: `${id}:1` }])),
    });
    // A session table with one session, 7: the format, then a name and a value, each after its length.
    const record = (name: string, bytes: number): number[] => [
      ...[name.length, ...Buffer.from(name)],
      ...[bytes, 0, 0, 0, ...new Uint8Array(bytes)],
    ];
    const sessions = Uint8Array.from([2, ...record("time", 8), ...record("session/7", 32)]);
    const draft = await snapshots.create({ clusterId: "c", position: { term: 2, index: 3 }, membership }, [
      sessions,
    ]);
    await draft.write(new Uint8Array(2000));
    await draft.finish();
    await snapshots.close();

    const sound = await printed({ directory });
    expect(sound.code).toBe(0);
    expect(sound.text).toMatch(
      /\n1 snapshot\n {2}up to entry 3 of term 2 {2}.* {2}taken here {2}voters n1, learners n3 {2}1 session\nsound: every checksum is right$/,
    );
    const logAlone = await printed({ directory: path.join(directory, "log") });
    expect(logAlone.text).not.toContain("1 snapshot");

    const [name = ""] = readdirSync(path.join(directory, "snapshots")).filter((one) =>
      one.endsWith(".taken"),
    );
    const file = path.join(directory, "snapshots", name);
    const bytes = readFileSync(file);
    bytes[1000] = 1;
    writeFileSync(file, bytes);
    const damaged = await printed({ directory });
    expect(damaged.code).toBe(1);
    expect(damaged.text).toMatch(
      /DAMAGED\nThe log is sound\.\nDAMAGED SNAPSHOT\n {2}the snapshot .* is damaged at byte/,
    );
    const json = JSON.parse((await printed({ directory, json: true })).text) as { snapshots: unknown };
    expect(json.snapshots).toMatchObject([
      { file, kind: "taken", index: 3, term: 2, voters: ["n1"], learners: ["n3"], sessions: null },
    ]);
  });

  it("is refused while a node runs, and reads with --running", async () => {
    const directory = await dataWithLog();
    const log = wal(path.join(directory, "log"));
    await log.open({ nodeId: "n1", clusterId: "c" }, nodeEnvironment());
    await expect(printed({ directory })).rejects.toThrow(
      /log is in use by process \d+ on .*To read the directory meanwhile, add --running$/,
    );
    expect((await printed({ directory, running: true })).code).toBe(0);
    await log.close();
    expect((await printed({ directory })).code).toBe(0);
  });

  it("tells a snapshot of another version of the format from a damaged one", async () => {
    const directory = await dataWithLog();
    const snapshots = snapshotFiles(path.join(directory, "snapshots"));
    await snapshots.open(nodeEnvironment());
    const membership = encodeMembership({
      config: { voters: ["n1"], outgoingVoters: [], learners: [] },
      members: new Map([["n1", { address: "n1:1" }]]),
    });
    const header = { clusterId: "c", position: { term: 2, index: 3 }, membership };
    const { id } = await (await snapshots.create(header, [])).finish();
    await snapshots.close();
    const name = readdirSync(path.join(directory, "snapshots")).find((one) => one.includes(id)) ?? "";
    const file = path.join(directory, "snapshots", name);
    const bytes = readFileSync(file);
    bytes[3] = 9;
    writeFileSync(file, bytes);
    const { code, text } = await printed({ directory });
    expect(code).toBe(1);
    expect(text).toMatch(/SNAPSHOT OF ANOTHER VERSION\n {2}the snapshot .* has version 9 .* does not start/);
    expect(text).not.toContain("DAMAGED SNAPSHOT");
  });
});

describe("keelson inspect, on the state", () => {
  const IDENTITY = { nodeId: "n1", clusterId: "c", storeId: "s1" };

  /**
   * A data directory with a log, and with a state of 30 keys, partly in tables and partly in LevelDB's log.
   */
  async function dataWithState(): Promise<{ readonly data: string; readonly state: string }> {
    const data = await dataWithLog();
    const state = path.join(data, "state");
    const { storeId } = await inspectWal(path.join(data, "log"));
    const identity = { ...IDENTITY, storeId: storeId ?? "" };
    for (const from of [1, 16]) {
      const store = new KvStateMachine(() => openDatabase(state));
      await store.open(identity);
      for (let index = from; index < from + 15; index++) {
        const value = Buffer.alloc(5000, `value ${index}`);
        await store.apply(
          { type: "put", key: Buffer.from(`k${index}`), value, condition: null },
          { term: 2, index },
        );
        await store.flush({ term: 2, index });
      }
      await store.close();
    }
    return { data, state };
  }

  /** Changes the bytes of the first file of this kind, in place. */
  function damage(state: string, extension: string, change: (bytes: Buffer) => void): string {
    const name = readdirSync(state).find((one) => one.endsWith(extension));
    if (name === undefined) throw new Error(`there is no ${extension}`);
    const file = path.join(state, name);
    const bytes = readFileSync(file);
    change(bytes);
    writeFileSync(file, bytes);
    return name;
  }

  it("verifies every value, in tables and in the log of the database, and changes nothing (Z3)", async () => {
    const { data, state } = await dataWithState();
    const before = readdirSync(state).map((name) => [name, readFileSync(path.join(state, name))]);
    const { code, text } = await printed({ directory: data });
    expect(code).toBe(0);
    expect(text).toMatch(/state\n {2}up to entry 30 of term 2 {2}.* {2}1 table {2}30 values\n/);
    expect(text).toMatch(/sound: every checksum is right$/);
    expect(readdirSync(state).map((name) => [name, readFileSync(path.join(state, name))])).toEqual(before);
    const { text: json } = await printed({ directory: data, json: true });
    expect(JSON.parse(json)).toMatchObject({
      state: { values: 30, applied: { index: 30 }, damage: [] },
      notRead: [],
    });
  });

  it("says what is damaged in a table, reads on after it, and exits with 1", async () => {
    const { data, state } = await dataWithState();
    const name = damage(state, ".ldb", (bytes) => {
      bytes[20]! ^= 1;
    });
    const { code, text } = await printed({ directory: data });
    expect(code).toBe(1);
    expect(text).toMatch(/up to entry 30 of term 2 .* 29 values\n/);
    expect(text).toContain(
      `The log is sound.\nDAMAGED STATE\n  ${name}: the block at offset 0 does not match its checksum\n  A node that starts rebuilds it`,
    );
  });

  it("says what is damaged although LevelDB's checksums are right", async () => {
    const { data, state } = await dataWithState();
    const database = await openDatabase(state);
    await database.batch([{ type: "put", key: dataKey(Buffer.from("k3")), value: Buffer.from("other") }], {
      sync: true,
    });
    await database.close();
    const { code, text } = await printed({ directory: data });
    expect(code).toBe(1);
    expect(text).toMatch(/DAMAGED STATE\n.*the value of key "k3" does not match its checksum\n/);
  });

  it.each([
    ["a lost batch", Uint8Array.of(0x72, 0, 7), /the state on disk lacks batch 7 of 30/],
    ["a lost position record", POSITION_KEY, /there are values, and no position record/],
  ])("notices %s", async (_, key, message) => {
    const { data, state } = await dataWithState();
    const database = await openDatabase(state);
    await database.batch([{ type: "del", key }], { sync: true });
    await database.close();
    const { code, text } = await printed({ directory: data });
    expect(code).toBe(1);
    expect(text).toMatch(message);
  });

  it("names a missing table, a damaged manifest, and what an earlier run found", async () => {
    for (const [extension, message] of [
      [".ldb", /\d\.ldb is missing/],
      ["CURRENT", /no such file or directory, open '.*CURRENT'/],
    ] as const) {
      const { data, state } = await dataWithState();
      rmSync(path.join(state, readdirSync(state).find((name) => name.endsWith(extension)) ?? ""));
      writeFileSync(path.join(state, "DAMAGED"), "it was so");
      const { code, text } = await printed({ directory: data });
      expect(code).toBe(1);
      expect(text).toMatch(message);
      expect(text).toContain("an earlier run found it damaged: it was so");
    }
    const { data, state } = await dataWithState();
    writeFileSync(path.join(state, "CURRENT"), "nonsense");
    expect((await printed({ directory: data })).text).toContain("CURRENT does not name a manifest");
  });

  it("says what it did not read", async () => {
    const { data, state } = await dataWithState();
    const name = damage(state, ".log", (bytes) => {
      bytes[bytes.length - 1]! ^= 1;
    });
    const { text } = await printed({ directory: data });
    expect(text).toMatch(
      new RegExp(`not read: in the state, ${name} from offset \\d+ on: it does not match`),
    );
    expect((await printed({ directory: path.join(data, "log") })).text).toContain(
      "not read: state and snapshots: only the log was named",
    );
    expect((await printed({ directory: data, running: true })).text).toContain(
      "not read: the state: the node may be running",
    );
  });

  it("says that the state is another node's, which the node would refuse (Z4)", async () => {
    const one = await dataWithState();
    const other = await dataWithState();
    rmSync(one.state, { recursive: true });
    cpSync(other.state, one.state, { recursive: true });
    const { code, text } = await printed({ directory: one.data });
    expect(code).toBe(1);
    expect(text).toMatch(/STATE OF ANOTHER NODE\n {2}.* belongs to the log with store id .*, of node n1\./);
  });
});
