import { BREAKS } from "../../packages/keelson/src/testing/explore/index.ts";
import type { Bug } from "./bug.ts";

/**
 * Bugs in snapshots: how they are taken, kept, sent and installed, and how the log is forgotten that they
 * cover. Not among them, because all that they cost is a moment:
 *
 * - S13, a command that a snapshot covers is waited for. Who no longer leads waits for no command longer than
 *   an election timeout, so its caller hears the same a little later. The runtime's test (S13 there) wants it
 *   at once.
 * - S17, a snapshot that was installed is not acknowledged. The next heartbeat is answered in any case. The
 *   core's tests (S16 there) want the answer.
 */
export const SNAPSHOT_BUGS: readonly Bug[] = [
  {
    code: "S1",
    title: "Installing a snapshot keeps a log that contradicts it",
    file: "core/snapshot.ts",
    from: "else if (!state.log.contains(position)) state.replaceLog(position, config);",
    to: "else if (state.log.last.index < position.index) state.replaceLog(position, config);",
    also: [
      {
        file: "runtime/loop/driver.ts",
        from: "const storeKeepsTail = this.#core.durableIndex >= position.index && this.#core.log.contains(position);",
        to: "const storeKeepsTail = this.#core.durableIndex >= position.index;",
      },
      {
        file: "runtime/loop/driver.ts",
        from: 'assert(!storeKeepsTail || log.contains(position), "what a snapshot covers is not cut off");',
        to: "",
      },
      {
        file: "runtime/loop/driver.ts",
        from: "const coreKeepsTail = log.contains(position);",
        to: "const coreKeepsTail = log.last.index >= position.index;",
      },
    ],
  },
  {
    code: "S1b",
    title: "Installing a snapshot drops the entries that follow it in the log",
    ...explored("snapshot-drops-rest"),
  },
  {
    code: "S4",
    title: "A node that stopped in the middle of installing a snapshot continues with its old log",
    file: "runtime/lifecycle/reconcile.ts",
    from: "return finishInstalling(parts, newest);",
    to: "return { stored: parts.stored, state: await restored(parts, newest) };",
  },
  {
    code: "S4b",
    title: "The log is compacted up to the applied index instead of the snapshot's index",
    file: "runtime/snapshots/log-compactor.ts",
    from: "const covered = Math.min(newest.position.index, applier.applied.index);",
    to: "const covered = applier.applied.index;",
  },
  {
    code: "S5",
    title: "The state is captured when the snapshot's file is open, not when the snapshot's index is chosen",
    file: "runtime/snapshots/snapshot-taker.ts",
    from: "first = chunks.next();",
    to: "first = Promise.resolve({ done: false, value: new Uint8Array(0) });",
  },
  {
    code: "S5b",
    title: "A snapshot starts in the middle of a batch",
    file: "runtime/snapshots/snapshot-taker.ts",
    from: "this.#parts.applier.runBetweenBatches(() => {",
    to: "const now = (run: () => void): void => {\n      run();\n    };\n    now(() => {",
  },
  {
    code: "S4c",
    title: "A node that stopped in the middle of installing a snapshot forgets its vote",
    file: "runtime/lifecycle/reconcile.ts",
    from: "{ term: position.term, votedFor: null } : hardState;",
    to: "{ term: position.term, votedFor: null } : { ...hardState, votedFor: null };",
  },
  {
    code: "S15",
    title: "A node with a damaged snapshot continues from where its log begins",
    file: "runtime/lifecycle/reconcile.ts",
    from: "if (newest === null || newest.position.index < stored.base.index) throw missing(parts);",
    to: "if (newest === null || newest.position.index < stored.base.index) {\n    void missing;\n    return { stored, state: { ...stored.base } };\n  }",
    also: [
      {
        file: "runtime/lifecycle/reconcile.ts",
        from: "return { stored, state: await restored(parts, newest) };",
        to: "return { stored, state: await restored(parts, newest).catch(() => ({ ...stored.base })) };",
      },
    ],
  },
  {
    code: "S17",
    title: "A node that installed a snapshot doesn't know that its contents are committed",
    file: "core/snapshot.ts",
    from: "  state.commitTo(position.index);\n  state.discardCoveredLog",
    to: "  state.discardCoveredLog",
  },
  {
    code: "S17b",
    title: "A leader sends nothing more to a follower that has installed its snapshot",
    file: "core/progress.ts",
    from: '(this.#state === "snapshot" && this.#match >= base)',
    to: '(this.#state === "snapshot" && this.#match < base)',
  },
  {
    code: "R10",
    title: "A follower takes entries that its snapshot covers for a contradiction",
    file: "core/replication.ts",
    from: "if (prev.index >= state.log.base.index && !state.log.contains(prev)) {",
    to: "if (!state.log.contains(prev)) {",
  },
  {
    code: "R10b",
    title: "A leader whose log was compacted never offers the follower a snapshot",
    file: "core/replication.ts",
    from: "state.pendingActions.sendSnapshot(message.from);\n  }\n  extendLease",
    to: "}\n  extendLease",
  },
  {
    code: "M5",
    title: "A snapshot holds the latest configuration instead of the one at its index",
    file: "runtime/snapshots/snapshot-taker.ts",
    from: "const membership = memberships.at(position.index);\n    assert(",
    to: "const membership = memberships.current;\n    assert(",
  },
  {
    code: "M5b",
    title: "Compaction forgets the configuration along with the entry that held it",
    file: "core/log.ts",
    from: "const { config } = this.configAt(index);",
    to: "const config = this.#baseConfig.voters.length > 0 ? this.#baseConfig : this.configAt(index).config;",
  },
  {
    code: "M7",
    title: "A node that installs a snapshot keeps an uncommitted configuration of its own log",
    file: "core/log.ts",
    from: "    this.#terms = [];\n    this.#configs = [];\n    this.#lastIndex = base.index;",
    to: "    this.#terms = [];\n    this.#lastIndex = base.index;",
    also: [
      {
        file: "runtime/loop/driver.ts",
        from: "membership !== undefined && sameConfig(membership.config, config),",
        to: "membership !== undefined,",
      },
    ],
  },
  {
    code: "Z9",
    title: "A transient snapshot-store error during an installation leaves the applier paused for good",
    file: "runtime/snapshots/snapshot-installer.ts",
    from: "      this.#resumeSnapshots();\n      applier.resumeAfterRestore(applier.applied);\n      throw error;",
    to: "      throw error;",
  },
  {
    code: "Z9b",
    title: "After a failed installation, an older snapshot is fetched, which the store removes on arrival",
    file: "runtime/snapshots/snapshot-fetcher.ts",
    from: "const isStored = newest !== null && newest.position.index >= index;",
    to: "const isStored = false;",
  },
  {
    code: "K5b",
    title: "A snapshot doesn't contain the sessions",
    file: "runtime/snapshots/snapshot-taker.ts",
    from: "this.#write(header, sessions.openView(), chunks,",
    to: "this.#write(header, { records: () => [][Symbol.iterator](), close: () => undefined }, chunks,",
  },
  {
    code: "Z19",
    title: "A snapshot that is written in many turns holds sessions as later entries leave them",
    file: "runtime/sessions/session-table.ts",
    from: "if (this.#viewsOpen === 0 || session.viewsBefore === this.#viewsOpened) return session;",
    to: "if (this.#viewsOpen >= 0) return session;",
  },
  {
    code: "K5c",
    title: "A node that installs a snapshot keeps its old sessions",
    file: "runtime/snapshots/snapshot-installer.ts",
    from: "      sessions.become(table);\n",
    to: "",
  },
  {
    code: "K5d",
    title: "The size of the sessions in a snapshot is added to that of the sessions they replace",
    file: "runtime/sessions/session-table.ts",
    from: "    this.#bytes = other.#bytes;\n    this.#nextExpiryMs",
    to: "    this.#bytes += other.#bytes;\n    this.#nextExpiryMs",
  },
  {
    code: "K5e",
    title: "A node that installs a snapshot keeps the time of the log that it had",
    file: "runtime/sessions/session-table.ts",
    from: "    this.#logTimeMs = other.#logTimeMs;\n    this.#bytes",
    to: "    this.#bytes",
  },
  {
    code: "S18",
    title: "An installed snapshot drops the log after it, of which entries were acknowledged",
    file: "runtime/loop/driver.ts",
    from: "storeKeepsTail ? this.#store.compact(base) : this.#store.reset(base),",
    to: "this.#store.reset(base),",
  },
  {
    code: "S18b",
    title: "The state is restored while a batch of commands is being applied",
    file: "runtime/loop/applier.ts",
    from: "this.#pausedForRestore = true;\n    await this.#loopEnded;",
    to: "this.#pausedForRestore = true;\n    await Promise.resolve();",
  },
  {
    code: "S18c",
    title: "The log is replaced by a snapshot while writes to it are under way",
    file: "runtime/loop/driver.ts",
    from: "    await this.#persister.whenIdle();\n",
    to: "",
  },
  {
    code: "D7c",
    title: "The directory isn't synced after a snapshot is renamed",
    file: "storage/snapshots/snapshot-files.ts",
    from: "await files.rename(from, path);\n    await files.syncDirectory(this.#directory);",
    to: "await files.rename(from, path);",
  },
  {
    code: "D7d",
    title: "A snapshot gets its name before it is durable",
    file: "storage/snapshots/draft-file.ts",
    from: "await this.#sync();\n    this.#isOpen = false;",
    to: "this.#isOpen = false;",
  },
];

/** One of the bugs that the exploration knows. */
function explored(name: string): Pick<Bug, "file" | "from" | "to" | "finder" | "bounds"> {
  const known = BREAKS.find((one) => one.name === name);
  if (known === undefined) throw new Error(`the exploration knows no bug ${name}`);
  const { file, from, to, bounds = {} } = known;
  return { file: `core/${file}`, from, to, finder: "exploration", bounds };
}
