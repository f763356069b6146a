import { crc32 } from "node:zlib";

import { RaftError } from "keelson";

import { encodeMembership, encodeRecord, EntryKind } from "../../packages/keelson/src/codec/index.ts";
import { simulatedEnvironment } from "../../packages/keelson/src/environment/simulated/simulated-environment.ts";
import { SimulatedFiles } from "../../packages/keelson/src/environment/simulated/simulated-files.ts";
import { wal } from "../../packages/keelson/src/storage/wal/index.ts";
import { Chance } from "../lib/chance.ts";
import { mutate } from "./mutate.ts";
import { expectThat, type Target, type Verdict } from "./target.ts";

const DIRECTORY = "/data/a";
const IDENTITY = { nodeId: "a", clusterId: null };
/** Small segments, so that a log has several. */
const SEGMENT_BYTES = 8192;
const DISKS = 8;
const SECTOR_BYTES = 512;
const BATCH_HEADER_BYTES = 32;
const READ_BYTES_MAX = 1024 * 1024;

/** An undamaged log on a disk, and every record that was ever written to it. */
interface Disk {
  readonly files: SimulatedFiles;
  readonly written: ReadonlySet<string>;
  readonly lastIndex: number;
}

/**
 * A log on disk, opened after its files were damaged. Either opening fails with an error that names the
 * damage, or the log holds only what was once written, and accepts further writes.
 */
export function walTarget(): Target {
  const disks: Promise<Disk>[] = [];
  return {
    name: "wal",
    share: 3,
    // The input is a list of decisions: which disk, and a seed for the damage.
    valid: (chance) => Uint8Array.of(chance.between(0, DISKS), 0, 0, 0, 0),
    run: async (input) => {
      const number = (input[0] ?? 0) % DISKS;
      const { files, written, lastIndex } = await (disks[number] ??= makeDisk(number + 1));
      const copy = files.copy();
      const seed = input.slice(1).reduce((sum, byte) => (Math.imul(sum, 257) + byte) | 0, 0);
      const damage = seed === 0 ? "none" : spoil(copy, new Chance(seed));
      return openDamaged(copy, written, damage, lastIndex);
    },
  };
}

type Damage = "none" | "flips" | "other" | "repaired";

async function openDamaged(
  files: SimulatedFiles,
  written: ReadonlySet<string>,
  damage: Damage,
  lastIndex: number,
): Promise<Verdict> {
  const store = wal(DIRECTORY, { segmentBytes: SEGMENT_BYTES });
  try {
    const found = await store.open(IDENTITY, simulatedEnvironment({ files: files.mount() }));
    // Flipped bits don't look like a torn write, so recovery must not drop anything because of them.
    if (damage === "none" || damage === "flips")
      expectThat(
        found.lastIndex === lastIndex,
        `opened up to entry ${found.lastIndex} of ${lastIndex}, after ${damage}`,
      );
    const from = found.base.index + 1;
    const records = from > found.lastIndex ? [] : await readAll(store, from, found.lastIndex + 1);
    for (const record of records) {
      // Where checksums were recomputed for changed bytes, these bytes count as written.
      expectThat(damage === "repaired" || written.has(nameOf(record)), "it holds an entry that nobody wrote");
    }
    const next = encodeRecord(
      found.lastIndex + 1,
      Math.max(found.hardState.term, 1000),
      EntryKind.command,
      new Uint8Array(9),
    );
    await store.append({
      hardState: { term: Math.max(found.hardState.term, 1000), votedFor: "a" },
      truncateFrom: null,
      records: [next],
    });
    await store.close();
    const again = wal(DIRECTORY, { segmentBytes: SEGMENT_BYTES });
    const reopened = await again.open(IDENTITY, simulatedEnvironment({ files: files.mount() }));
    await again.close();
    expectThat(reopened.lastIndex === found.lastIndex + 1, "what it took after the damage is gone");
    return "taken";
  } catch (error) {
    await store.close().catch(() => undefined);
    if (!(error instanceof RaftError)) throw error;
    expectThat(damage !== "none", `an undamaged log is refused: ${error.message}`);
    return "refused";
  }
}

async function readAll(store: ReturnType<typeof wal>, from: number, to: number): Promise<Uint8Array[]> {
  const records: Uint8Array[] = [];
  while (from + records.length < to)
    records.push(...(await store.read(from + records.length, to, READ_BYTES_MAX)));
  return records;
}

/** A log after appends, truncations, compactions, and sometimes a reset. */
async function makeDisk(seed: number): Promise<Disk> {
  const chance = new Chance(seed, 7);
  const files = new SimulatedFiles();
  const store = wal(DIRECTORY, { segmentBytes: SEGMENT_BYTES });
  await store.open(IDENTITY, simulatedEnvironment({ files: files.mount(), seed }));
  await store.setClusterId("c");
  const written = new Set<string>();
  const config = encodeMembership({
    config: { voters: ["a"], outgoingVoters: [], learners: [] },
    members: new Map([["a", { address: "h:1" }]]),
  });
  let last = 0;
  let base = 0;
  const terms = new Map<number, number>();
  for (let step = 1; step <= 40; step++) {
    const term = 1 + Math.floor(step / 5);
    const truncateFrom = last > base + 2 && chance.often(0.1) ? chance.between(base + 2, last + 1) : null;
    if (truncateFrom !== null) last = truncateFrom - 1;
    const records = Array.from({ length: chance.between(1, 5) }, () => {
      last += 1;
      terms.set(last, term);
      const payload = new Uint8Array(chance.between(0, 700)).map(() =>
        chance.often(0.5) ? 0 : chance.between(0, 256),
      );
      return encodeRecord(last, term, EntryKind.command, payload);
    });
    for (const record of records) written.add(nameOf(record));
    await store.append({ hardState: { term, votedFor: "a" }, truncateFrom, records });
    if (chance.often(0.1)) {
      base = chance.between(base + 1, last + 1);
      await store.compact({ position: { index: base, term: terms.get(base) ?? 0 }, config });
    }
    if (chance.often(0.02)) {
      base = last + 10;
      last = base;
      await store.reset({ position: { index: base, term }, config });
    }
  }
  await store.close();
  return { files, written, lastIndex: last };
}

/** Damages one or two files, and returns a description. */
function spoil(files: SimulatedFiles, chance: Chance): Damage {
  const path = chance.pick(files.paths().filter((name) => name.endsWith(".wal")));
  const bytes = files.contents(path);
  const end = bytes.findLastIndex((byte) => byte !== 0) + 1;
  if (chance.often(0.3)) {
    // Damage only what was written: the zeros behind it have no meaning.
    for (let count = chance.between(1, 4); count > 0; count--) {
      const at = chance.between(0, end);
      files.damage(path, at, Uint8Array.of((bytes[at] ?? 0) ^ (1 << chance.between(0, 8))));
    }
    return "flips";
  }
  const from = chance.often(0.7)
    ? SECTOR_BYTES * chance.between(0, Math.ceil(end / SECTOR_BYTES))
    : chance.between(0, bytes.length);
  const length = Math.min(bytes.length - from, chance.pick([4, 60, SECTOR_BYTES, 3 * SECTOR_BYTES]));
  const part = bytes.slice(from, from + length);
  const other = bytes.slice(chance.between(0, bytes.length));
  const spoilt = chance.often(0.3) ? new Uint8Array(length) : mutate(part, other, chance).slice(0, length);
  files.damage(path, from, spoilt);
  if (!chance.often(0.4)) return "other";
  files.damage(path, 0, repaired(files.contents(path)));
  return "repaired";
}

/** Recomputes the checksums of all batches for the present bytes, as only a bug or an attacker would. */
function repaired(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const salt = crc32(Buffer.from(bytes).toString("hex", STORE_ID_AT, STORE_ID_AT + STORE_ID_BYTES));
  for (let at = 0; at + BATCH_HEADER_BYTES <= bytes.length; at += SECTOR_BYTES) {
    const length = view.getUint32(at + 4, true);
    if (view.getUint32(at, true) !== 0x4b42_4154 || length < 40 || at + length > bytes.length) continue;
    view.setUint32(at + 20, crc32(bytes.subarray(at + BATCH_HEADER_BYTES, at + length - 8), salt), true);
    view.setUint32(at + 28, crc32(bytes.subarray(at, at + 28), salt), true);
  }
  return bytes;
}

/** The offset of the store id in a segment (segment-header.ts). */
const STORE_ID_AT = 88;
const STORE_ID_BYTES = 16;

function nameOf(record: Uint8Array): string {
  return Buffer.from(record).toString("latin1");
}
