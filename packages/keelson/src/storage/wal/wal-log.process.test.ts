import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, it } from "vitest";
import { nodeEnvironment } from "../../environment/node/node-environment.ts";
import { decodeRecord } from "../../codec/record.ts";
import { wal } from "./index.ts";

const source = (file: string): string => JSON.stringify(new URL(file, import.meta.url).href);

// Appends until it's killed, and prints after each acknowledgement which entry is durable.
const WRITER = `
  const { wal } = await import(${source("./index.ts")});
  const { nodeEnvironment } = await import(${source("../../environment/node/node-environment.ts")});
  const { encodeRecord, EntryKind } = await import(${source("../../codec/record.ts")});
  const log = wal(process.argv[1], { segmentBytes: 256 * 1024 });
  let { lastIndex } = await log.open({ nodeId: "a", clusterId: null }, nodeEnvironment());
  for (;;) {
    const records = [];
    for (let count = lastIndex % 7; count >= 0; count--) {
      lastIndex += 1;
      records.push(encodeRecord(lastIndex, 1, EntryKind.command, new Uint8Array(lastIndex % 3000).fill(lastIndex)));
    }
    await log.append({ hardState: { term: lastIndex, votedFor: null }, truncateFrom: null, records });
    process.stdout.write(lastIndex + "\\n");
  }
`;

it("the WAL holds every acknowledged write after each of several kills", async () => {
  const directory = await mkdtemp(path.join(tmpdir(), "keelson-wal-"));
  const options = ["--conditions=source", "--disable-warning=ExperimentalWarning", "--input-type=module"];
  let acknowledged = 0;
  for (let round = 0; round < 5; round++) {
    const child = spawn(process.execPath, [...options, "-e", WRITER, directory], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    const before = acknowledged;
    const exit = once(child, "exit");
    child.stdout.on("data", (data: Buffer) => {
      output += data.toString();
      acknowledged = Math.max(acknowledged, ...output.trim().split("\n").slice(0, -1).map(Number));
      if (acknowledged > before + 150) child.kill("SIGKILL");
    });
    await exit;

    const log = wal(directory, { segmentBytes: 256 * 1024 });
    const found = await log.open({ nodeId: "a", clusterId: null }, nodeEnvironment());
    expect(found.lastIndex).toBeGreaterThanOrEqual(acknowledged);
    expect(found.hardState.term).toBe(found.lastIndex);
    const records = await log.read(1, found.lastIndex + 1, Number.MAX_SAFE_INTEGER);
    for (const [at, record] of records.entries()) {
      const { index, payload } = decodeRecord(record);
      expect([index, payload.length]).toEqual([at + 1, index % 3000]);
    }
    await log.close();
  }
  expect(acknowledged).toBeGreaterThan(750);
  await rm(directory, { recursive: true });
});
