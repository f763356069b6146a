import type { Bug } from "./bug.ts";

/** Bugs in installations of snapshots that meet something else (S19). */
export const INSTALLATION_BUGS: readonly Bug[] = [
  {
    code: "S19a",
    title: "A state is replaced by a snapshot while a batch is still being applied to it",
    file: "runtime/loop/applier.ts",
    from: "this.#pausedForRestore = true;\n    await this.#loopEnded;",
    to: "this.#pausedForRestore = true;\n    await Promise.resolve();",
  },
  {
    code: "S19b",
    title: "A node that installs a snapshot for long doesn't tell its source, which forgets the log after it",
    file: "runtime/snapshots/snapshot-fetcher.ts",
    from: "        this.#keepTransferAlive(transfer);\n",
    to: "",
  },
  {
    code: "S19c",
    title: "After an installation the node takes no snapshots of its own any more",
    file: "runtime/snapshots/snapshot-installer.ts",
    from: "    this.#parts.taker.resume();\n",
    to: "",
  },
];
