import type { Bug } from "./bug.ts";

/** Bugs that need the world at its extremes: large numbers, full disks, other processes, peers that lie. */
export const EXTREME_BUGS: readonly Bug[] = [
  {
    code: "M9",
    title: "A member that was removed is still listened to",
    file: "runtime/members/member-directory.ts",
    from: "if (committed?.removed?.includes(id) === true) {",
    to: 'if (committed?.removed?.includes(id) === true && id === "") {',
  },
  {
    code: "Z1c",
    title: "The log is opened without the lock of its directory",
    file: "storage/wal/wal-log.ts",
    from: "const lock = held ?? (await lockStore(files, this.#directory));",
    to: "const lock = held ?? { release: () => Promise.resolve() };",
  },
  {
    code: "Z12b",
    title: "What a program's logger throws stops the node",
    file: "runtime/lifecycle/node-log.ts",
    from: "    } catch {\n",
    to: "    } catch (error) {\n      throw error;\n",
  },
  {
    code: "Z21b",
    title: "A log with entries of its cluster is discarded when the first list of members is corrected",
    file: "storage/wal/discard-unused-log.ts",
    from: "if (base.index > 0 || last.index > 1)",
    to: "if (base.index > 0)",
  },
  {
    code: "Z17",
    title: "A stranger that knows the cluster's id is listened to",
    file: "runtime/members/member-directory.ts",
    from: "    if (wasMember || isVouchedFor) return null;\n",
    to: '    if (wasMember || isVouchedFor || id !== "") return null;\n',
  },
  {
    code: "Z17b",
    title: "A stranger that names any store is taken for one that a member vouches for",
    file: "transport/handshake.ts",
    from: 'hello.type === "hello" && hello.toStoreId === storeId;',
    to: 'hello.type === "hello" && (hello.toStoreId !== undefined || storeId === hello.to);',
  },
  {
    code: "Z22",
    title: "The time of the next election is cut to 32 bits",
    file: "core/state.ts",
    from: "return now + min + this.options.random() * (max - min);",
    to: "return (now + min + this.options.random() * (max - min)) | 0;",
  },
  {
    code: "Z22b",
    title: "The log keeps the lower 32 bits of the term",
    file: "storage/wal/batch-format.ts",
    from: "writeUint64(target, body, term);",
    to: "writeUint64(target, body, term % 2 ** 32);",
  },
  {
    code: "Z22c",
    title: "A frame loses a bit of numbers from 2^31 on",
    file: "codec/byte-writer.ts",
    from: "this.#view.setUint32(at, value % TWO_TO_32, true);",
    to: "this.#view.setUint32(at, value % 2 ** 31, true);",
  },
  {
    code: "Z23",
    title: "What a full disk left of a new segment keeps the log from beginning another",
    file: "storage/wal/segments.ts",
    from: 'if (!hasCode(error, "EEXIST")) throw error;',
    to: "throw error;",
  },
  {
    code: "Z24",
    title: "A node that more nodes ask for a snapshot than it serves at once fails",
    file: "runtime/snapshots/snapshot-sender.ts",
    from: "if (this.#transfers.size >= TRANSFERS_MAX) return null;",
    to: 'if (this.#transfers.size >= TRANSFERS_MAX) throw new Error("too many transfers");',
  },
];
