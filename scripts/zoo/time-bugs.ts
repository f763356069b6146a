import type { Bug } from "./bug.ts";

/** Bugs in log time, as state machines are given it (`ApplyContext.logTimeMs`). */
export const TIME_BUGS: readonly Bug[] = [
  {
    code: "K9",
    title: "A state machine is told the time of its own node's clock",
    file: "runtime/loop/applier.ts",
    from: "logTimeMs: sessions.table.logTimeMs",
    to: "logTimeMs: Math.floor(this.#parts.environment.now())",
  },
  {
    code: "K9b",
    title: "Log time begins at 0 again on a node that is restored from a snapshot",
    file: "runtime/sessions/session-table.ts",
    from: 'if (name.type === "time") table.#logTimeMs = decodeTime(bytes);',
    to: 'if (name.type === "time") decodeTime(bytes);',
  },
  {
    code: "K9c",
    title: "A new leader counts log time from 0 on, and its entries take log time back",
    file: "runtime/sessions/log-clock.ts",
    from: "    this.#readingMs = table.logTimeMs;\n",
    to: "    this.#readingMs = 0;\n",
    also: [
      {
        file: "runtime/sessions/log-clock.ts",
        from: "Math.max(this.#readingMs + passed, table.logTimeMs)",
        to: "this.#readingMs + passed",
      },
      {
        file: "runtime/sessions/session-table.ts",
        from: "if (clock > this.#logTimeMs) {",
        to: "if (clock !== this.#logTimeMs) {",
      },
    ],
  },
  {
    code: "K9d",
    title: "An idle leader tells the log no time, so that log time falls behind",
    file: "runtime/sessions/log-clock.ts",
    from: "const isUsed = table.size > 0 || this.#tellsStateMachine;",
    to: "const isUsed = table.size > 0;",
  },
  {
    code: "K9e",
    title: "A state machine on disk isn't given the log time that a batch has moved",
    file: "runtime/sessions/session-table.ts",
    from: "      this.#changedRecords.add(TIME_NAME);\n",
    to: "",
  },
  {
    code: "K9f",
    title: "Log time follows the clock that an entry carries, however far it is ahead",
    file: "runtime/sessions/session-table.ts",
    from: "Math.min(clock, this.#logTimeMs + LOG_TIME_STEP_MS_MAX)",
    to: "clock",
    also: [
      {
        file: "runtime/sessions/log-clock.ts",
        from: "    return this.#readingMs;",
        to: "    return 2 * this.#readingMs;",
      },
    ],
  },
];
