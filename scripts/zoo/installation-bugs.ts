import type { Bug } from "./bug.ts";

/** Bugs in what goes on around an installation of a snapshot (S19), and a transfer that is of no use (Q3). */
export const INSTALLATION_BUGS: readonly Bug[] = [
  {
    code: "S19a",
    title: "A node that installs a snapshot for long doesn't tell its source, which forgets the log after it",
    file: "runtime/snapshots/snapshot-fetcher.ts",
    from: "        this.#keepTransferAlive(transfer);\n",
    to: "",
  },
  {
    code: "S19b",
    title: "After an installation the node takes no snapshots of its own any more",
    file: "runtime/snapshots/snapshot-installer.ts",
    from: "    this.#parts.taker.resume();\n",
    to: "",
  },
  {
    code: "Q3g",
    title: "A node goes on fetching a snapshot although its state has passed it",
    file: "runtime/snapshots/snapshot-manager.ts",
    from: "    this.#fetcher.onApplied(this.#parts.applier.applied.index);\n",
    to: "",
  },
];
