import { crc32 } from "node:zlib";

import { CorruptSnapshotError } from "keelson";
import { encodeMembership } from "keelson/codec";

import {
  BLOCK_HEADER_BYTES,
  BlockType,
  checkLastBlock,
  encodeBlock,
  encodeEnd,
  encodeHeader,
  readBlocks,
  readHeader,
  type SnapshotFile,
} from "../../packages/keelson/src/storage/snapshots/format.ts";
import { intactPrefixBytes } from "../../packages/keelson/src/storage/snapshots/incoming-file.ts";
import type { Chance } from "../lib/chance.ts";
import { joined } from "./mutate.ts";
import { expectThat, type Target, type Verdict } from "./target.ts";

const HEADER_PREFIX_BYTES = 12;
const PATH = "/snapshot";

/** A snapshot file: one that another node sent, a backup, or the node's own after a crash or damage. */
export const snapshotTarget: Target = {
  name: "snapshots",
  share: 60,
  valid: (chance) => {
    const header = encodeHeader({
      id: "0123456789abcdef".repeat(2),
      clusterId: chance.pick(["c", "cluster+1", "ü".repeat(20)]),
      position: { term: chance.between(1, 100), index: chance.pick([1, 500, 2 ** 40]) },
      membership: validMembership(chance),
    });
    const parts = [header];
    if (chance.often(0.5)) parts.push(...encodeBlock(BlockType.sessions, filled(chance)));
    for (let count = chance.between(0, 4); count > 0; count--)
      parts.push(...encodeBlock(BlockType.state, filled(chance)));
    const body = joined(...parts);
    return joined(body, ...encodeEnd(body.length, crc32(body)));
  },
  repair,
  run: async (input) => {
    const file = fileOf(input);
    const intact = await intactPrefixBytes(file);
    expectThat(intact <= input.length, `${intact} bytes of ${input.length} are said to be right`);
    const { verdict, bytes } = await read(file);
    // When a transfer resumes, everything that isn't kept is sent again. Keeping too little costs time;
    // keeping too much is a bug.
    expectThat(
      verdict === "refused" || bytes === intact,
      `${intact} bytes are kept of ${bytes} in a sound file`,
    );
    if (verdict === "taken") {
      await checkLastBlock(file);
      const { header, bytes: encoded } = await readHeader(file);
      expectThat(
        Buffer.compare(encodeHeader(header), encoded) === 0,
        "a header that was taken is written as other bytes",
      );
    }
    return verdict;
  },
};

function filled(chance: Chance): Uint8Array {
  return new Uint8Array(chance.between(0, 200)).fill(chance.between(0, 256));
}

function validMembership(chance: Chance): Uint8Array {
  const voters = chance.pick([["a"], ["a", "b", "node-3"]]);
  const members = new Map(voters.map((id) => [id, { address: `${id}:1` }]));
  return encodeMembership({ config: { voters, outgoingVoters: [], learners: [] }, members });
}

/** Up to the end: how far its blocks go, the end not counted, if there are any. */
async function read(file: SnapshotFile): Promise<{ verdict: Verdict; bytes: number }> {
  let bytes = 0;
  try {
    for await (const block of readBlocks(file)) {
      expectThat(block.end <= file.bytes && block.end > bytes, `a block ends at ${block.end}`);
      bytes = block.end;
    }
    return { verdict: "taken", bytes };
  } catch (error) {
    if (error instanceof CorruptSnapshotError) return { verdict: "refused", bytes };
    throw error;
  }
}

function fileOf(contents: Uint8Array): SnapshotFile {
  const never = (): Promise<never> => Promise.reject(new Error("a snapshot is read here, and nothing else"));
  return {
    path: PATH,
    bytes: contents.length,
    handle: {
      size: () => Promise.resolve(contents.length),
      read(target, position) {
        const part = contents.subarray(position, position + target.length);
        target.set(part);
        return Promise.resolve(part.length);
      },
      ...{ write: never, writeDurably: never, allocate: never, truncate: never, dataSync: never },
      close: () => Promise.resolve(),
    },
  };
}

/** Recomputes all checksums for the present bytes, and the end for what comes before it. */
function repair(bytes: Uint8Array): void {
  if (bytes.length < HEADER_PREFIX_BYTES) return;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = HEADER_PREFIX_BYTES + view.getUint32(8, true);
  if (at > bytes.length) return;
  view.setUint32(4, crc32(bytes.subarray(8, at)), true);
  while (at + BLOCK_HEADER_BYTES <= bytes.length) {
    const end = at + BLOCK_HEADER_BYTES + view.getUint32(at, true);
    if (end > bytes.length) return;
    if (view.getUint32(at + 8, true) === BlockType.end && end - at === BLOCK_HEADER_BYTES + 12) {
      view.setUint32(at + BLOCK_HEADER_BYTES, at, true);
      view.setUint32(at + BLOCK_HEADER_BYTES + 8, crc32(bytes.subarray(0, at)), true);
    }
    view.setUint32(at + 4, crc32(bytes.subarray(at + 8, end)), true);
    at = end;
  }
}
