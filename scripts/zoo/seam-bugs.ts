import type { Bug } from "./bug.ts";

/** Bugs where log and snapshots meet other processes, operators and other versions. */
export const SEAM_BUGS: readonly Bug[] = [
  {
    code: "Z1",
    title: "The transaction that should hold the directory's lock takes no lock",
    file: "environment/node/directory-lock.ts",
    from: "PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE",
    to: "PRAGMA journal_mode = MEMORY; BEGIN",
    finder: "storage suite",
  },
  {
    code: "Z1b",
    title: "The transaction that should hold the shared lock reads nothing, so it takes no lock",
    file: "environment/node/directory-lock.ts",
    from: "BEGIN; SELECT count(*) FROM sqlite_schema",
    to: "BEGIN",
    finder: "storage suite",
  },
  {
    code: "Z8",
    title: "Forcing a new cluster ignores the snapshot whose installation was interrupted",
    file: "storage/wal/force-new-cluster.ts",
    from: "const newest = complete.at(-1);",
    to: "const newest = complete.slice(0, 0).at(-1);",
    finder: "storage suite",
  },
  {
    code: "Z8b",
    title: "Forcing a new cluster counts on an interrupted installation's snapshot, and doesn't install it",
    file: "storage/wal/force-new-cluster.ts",
    from: "if (installs !== null) await finishInstalling(log, hardState.term, installs);",
    to: "void [installs, hardState, finishInstalling];",
    finder: "storage suite",
  },
  {
    code: "D2c",
    title:
      "A resumed snapshot fetch takes what an earlier process received for durable, though it may be in the cache only",
    file: "storage/snapshots/incoming-file.ts",
    from: "await handle.write([bytes.subarray(0, count)], at);",
    to: "void count;",
    finder: "storage suite",
  },
  {
    code: "D7e",
    title: "A snapshot whose rename wasn't synced is removed under its former name only",
    file: "storage/snapshots/snapshot-files.ts",
    from: "    names.push(path);\n",
    to: "",
    finder: "storage suite",
  },
  {
    code: "S15b",
    title: "A snapshot of a later version counts as damaged, and the next snapshot removes it",
    file: "storage/snapshots/find-snapshots.ts",
    from: "if (error.otherVersion !== null) throw ofOtherVersion(error);",
    to: "void ofOtherVersion;",
    finder: "storage suite",
  },
  {
    code: "S15c",
    title: "A discarded snapshot is still the newest one while it is being read",
    file: "storage/snapshots/snapshot-files.ts",
    from: "return this.#complete.findLast(({ isObsolete }) => !isObsolete)?.snapshot ?? null;",
    to: "return this.#complete.at(-1)?.snapshot ?? null;",
    finder: "storage suite",
  },
  {
    code: "Z20",
    title:
      "A leader takes a refusal of entries that the follower acknowledged for an outdated one, and never sends them again",
    file: "core/progress.ts",
    from: "return refused <= this.#match && round > this.#matchedInRound;",
    to: "return refused < 0 && round > this.#matchedInRound;",
  },
  {
    code: "Z21",
    title: "A failed restore leaves its files, so it can't be repeated",
    file: "storage/wal/restore-wal.ts",
    from: "    await undo(options, environment.files, error);\n",
    to: "    void undo;\n",
    finder: "storage suite",
  },
];
