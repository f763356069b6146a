import type { Bug } from "./bug.ts";

const STATE_MACHINE = "../../kv/src/store/state-machine.ts";

/**
 * Bugs in the state machine of the key-value server; the simulator looks for them with that state machine in
 * it.
 */
export const KV_BUGS: readonly Bug[] = [
  {
    code: "KV1",
    title: "The state machine writes its position after the effects, in a batch of its own",
    file: STATE_MACHINE,
    from: "await this.#opened().batch(operations, {",
    to: "await this.#opened().batch(operations.slice(0, -1), { sync: false });\n      await this.#opened().batch(operations.slice(-1), {",
    store: "kv",
  },
  {
    code: "KV1b",
    title: "The state machine writes its position before the effects, in a batch of its own",
    file: STATE_MACHINE,
    from: "await this.#opened().batch(operations, {",
    to: "await this.#opened().batch(operations.slice(-1), { sync: false });\n      await this.#opened().batch(operations.slice(0, -1), {",
    store: "kv",
  },
  {
    code: "KV2",
    title: "The state machine opens a state from which the disk lost a batch",
    file: STATE_MACHINE,
    from: "if (found.has(batch)) continue;",
    to: "if (found.has(batch) || batches > 0) continue;",
    store: "kv",
  },
  {
    code: "KV2b",
    title: "At opening, only the last of the batches that may be lost is checked",
    file: STATE_MACHINE,
    from: "Math.max(1, batches - ringBatches + 1)",
    to: "Math.max(1, batches)",
    store: "kv",
  },
  {
    code: "KV2c",
    title: "At opening, lost batches are checked for only in the database's newest log file",
    file: STATE_MACHINE,
    from: "return inMemtable + 2 * batchesPerSync;",
    to: "return Math.min(1, inMemtable) + 2 * batchesPerSync;",
    finder: "state suite",
  },
  {
    code: "KV3",
    title: "Results are returned and reads served while the batch is still being written",
    file: STATE_MACHINE,
    from: "await this.#opened().batch(operations, { sync: batches % this.#batchesPerSync === 0 });",
    to: "void this.#opened().batch(operations, { sync: batches % this.#batchesPerSync === 0 });",
    store: "kv",
  },
  {
    code: "KV3b",
    title:
      "A snapshot is taken although the database's files are damaged where no value's checksum would show it",
    file: STATE_MACHINE,
    from: "      await before();\n",
    to: "",
    finder: "state suite",
  },
  {
    code: "KV4",
    title: "A condition doesn't see earlier changes of the same batch",
    file: STATE_MACHINE,
    from: "if (overlaid !== undefined) return",
    to: "if (overlaid !== undefined && command.condition === null) return",
    store: "kv",
  },
  {
    code: "KV5",
    title: "A condition on a key's version isn't checked",
    file: STATE_MACHINE,
    from: "if (command.condition !== null && !holds(",
    to: 'if (command.condition !== null && command.condition.type !== "version" && !holds(',
    store: "kv",
  },
  {
    code: "KV6",
    title: "The count of applied commands restarts at each start",
    file: STATE_MACHINE,
    from: "    this.#count = this.#written.count;\n",
    to: "",
    store: "kv",
  },
  {
    code: "KV7",
    title: "A deleted key is back after the batch",
    file: STATE_MACHINE,
    from: "for (const { key, entry } of this.#overlay.values()) {",
    to: "for (const { key, entry } of this.#overlay.values()) {\n      if (entry === null) continue;",
    store: "kv",
  },
  {
    code: "Z2",
    title: "A restored state is durable only as far as it is in the database's newest log file",
    file: STATE_MACHINE,
    from: "await this.#database.batch(this.#operations, { sync: true });",
    to: "await this.#database.batch(this.#operations, { sync: false });",
    also: [
      { file: STATE_MACHINE, from: "      await database.checkpoint?.();\n", to: "" },
      {
        file: STATE_MACHINE,
        from: "      await checkRestored(database, this.#written, this.#host);\n",
        to: "",
      },
    ],
    finder: "state suite",
  },
  {
    code: "Z2b",
    title: "A key that was deleted before a restored snapshot is back",
    file: STATE_MACHINE,
    from: "      await database.checkpoint?.();\n",
    to: "",
    also: [
      {
        file: STATE_MACHINE,
        from: "      await checkRestored(database, this.#written, this.#host);\n",
        to: "",
      },
    ],
    finder: "state suite",
  },
  {
    code: "Z3",
    title: "A value is served without checking its checksum",
    file: "../../kv/src/store/state-layout.ts",
    from: "if (bytes.length >= CHECKSUM_BYTES && readChecksum(bytes, 0) === crc32(value, crc32(key))) return value;",
    to: "if (bytes.length >= CHECKSUM_BYTES) return value;",
    finder: "state suite",
  },
  {
    code: "Z5",
    title: "A node whose state a power cut left incomplete doesn't rebuild it by itself",
    file: STATE_MACHINE,
    from: "if (this.#recovery === null) {",
    to: "if (this.#recovery !== null) {",
    store: "kv",
  },
];
