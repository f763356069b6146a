import type { Bug } from "./bug.ts";

const STATE_MACHINE = "../../kv/src/store/state-machine.ts";

/** Bugs in the state machine of the key-value server; the simulator looks for them with that state machine in it. */
export const KV_BUGS: readonly Bug[] = [
  {
    code: "KV1",
    title: "The state's position is written after its effects, in a batch of its own",
    file: STATE_MACHINE,
    from: "await this.#opened().batch(operations, {",
    to: "await this.#opened().batch(operations.slice(0, -1), { sync: false });\n      await this.#opened().batch(operations.slice(-1), {",
    store: "kv",
  },
  {
    code: "KV1b",
    title: "The state's position is written before its effects, in a batch of its own",
    file: STATE_MACHINE,
    from: "await this.#opened().batch(operations, {",
    to: "await this.#opened().batch(operations.slice(-1), { sync: false });\n      await this.#opened().batch(operations.slice(0, -1), {",
    store: "kv",
  },
  {
    code: "KV2",
    title: "A state from which the disk lost a batch is taken as it is",
    file: STATE_MACHINE,
    from: "if (found.has(batch)) continue;",
    to: "if (found.has(batch) || batches > 0) continue;",
    store: "kv",
  },
  {
    code: "KV2b",
    title: "Of the batches that may be lost, only the last one is looked for",
    file: STATE_MACHINE,
    from: "Math.max(1, batches - this.#ringBatches + 1)",
    to: "Math.max(1, batches)",
    store: "kv",
  },
  {
    code: "KV3",
    title: "Results are told, and reads served, while the batch is still being written",
    file: STATE_MACHINE,
    from: "await this.#opened().batch(operations, { sync: batches % this.#batchesPerSync === 0 });",
    to: "void this.#opened().batch(operations, { sync: batches % this.#batchesPerSync === 0 });",
    store: "kv",
  },
  {
    code: "KV4",
    title: "A condition does not see what the same batch changed before",
    file: STATE_MACHINE,
    from: "if (overlaid !== undefined) return",
    to: "if (overlaid !== undefined && command.condition === null) return",
    store: "kv",
  },
  {
    code: "KV5",
    title: "A condition that names a version is not checked",
    file: STATE_MACHINE,
    from: "if (command.condition !== null && !holds(",
    to: 'if (command.condition !== null && command.condition.type !== "version" && !holds(',
    store: "kv",
  },
  {
    code: "KV6",
    title: "The count of applied commands begins again at each start",
    file: STATE_MACHINE,
    from: "    this.#count = this.#written.count;\n",
    to: "",
    store: "kv",
  },
  {
    code: "KV7",
    title: "After a batch a deleted key is back",
    file: STATE_MACHINE,
    from: "for (const { key, entry } of this.#overlay.values()) {",
    to: "for (const { key, entry } of this.#overlay.values()) {\n      if (entry === null) continue;",
    store: "kv",
  },
];
