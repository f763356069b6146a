import type { Bug } from "./bug.ts";

/** Bugs in sessions that a program continues after a restart (`ResumableSession`). */
export const RESUMPTION_BUGS: readonly Bug[] = [
  {
    code: "K1g",
    title: "A resumed session uses the numbers of the program before it again",
    file: "runtime/sessions/resumable-session.ts",
    from: "this.#nextSequence = state?.nextSequence ?? 1;",
    to: "this.#nextSequence = 1;",
  },
  {
    code: "K4k",
    title: "A resumed session takes pending commands for commands that were never sent",
    file: "runtime/sessions/resumable-session.ts",
    from: "{ isBusy: false, mayHaveTakenEffect: true }",
    to: "{ isBusy: false, mayHaveTakenEffect: false }",
  },
  {
    code: "K4l",
    title: "A session that has ended meanwhile says that its pending commands had no effect",
    file: "runtime/sessions/resumable-session.ts",
    from: 'pending.length > 0 ? "unknown" : "not-done"',
    to: '"not-done"',
  },
];
