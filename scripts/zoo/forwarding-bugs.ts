import type { Bug } from "./bug.ts";

/** Bugs in how calls are passed on to the leader, and their answers back. */
export const FORWARDING_BUGS: readonly Bug[] = [
  {
    code: "K1d",
    title: "A command that was sent to one leader and not answered is sent to the next",
    file: "runtime/writes/call-forwarder.ts",
    from: "else pending.giveUpAt ??= environment.now() + timings.electionTimeoutMaxMs;",
    to: "else {\n        void environment;\n        void timings;\n        this.#prepareRetry(pending);\n      }",
  },
  {
    code: "K1e",
    title: "A request that comes twice is done twice",
    file: "runtime/writes/forwarded-call-server.ts",
    from: "if (id <= this.#floor || this.#above.has(id)) return false;",
    to: "if (id <= this.#floor) return false;",
  },
  {
    code: "K1f",
    title: "A request for the leader of an earlier term is done by the leader of a later one",
    file: "runtime/writes/forwarded-call-server.ts",
    from: "if (request.term !== this.#term || !this.#isFirst(request)) return;",
    to: "if (request.term > this.#term || !this.#isFirst(request)) return;",
    also: [
      {
        file: "runtime/writes/forwarded-call-server.ts",
        from: 'core.role !== "leader" || core.term !== request.term',
        to: 'core.role !== "leader"',
      },
    ],
  },
  {
    code: "Z11",
    title: "A command that is forwarded is kept in the codec's own buffer",
    file: "runtime/writes/proposer.ts",
    from: 'const payload = copyBytes(bytes, "what encode returns");',
    to: "const payload = bytes;",
  },
  {
    code: "Z11b",
    title: "A session keeps an answer in the codec's own buffer",
    file: "runtime/sessions/session-applier.ts",
    from: 'const bytes = copyBytes(codec.encodeResult(result), "what encodeResult returns");',
    to: "const bytes = codec.encodeResult(result);",
  },
  {
    code: "K4e",
    title: "A command whose leader is gone before it answered is said not to be done",
    file: "runtime/writes/call-forwarder.ts",
    from: "throw new OutcomeUnknownError(\n            `${sent.to} was asked as leader",
    to: 'throw new AbortedError("not-done",\n            `${sent.to} was asked as leader',
  },
  {
    code: "K4f",
    title: "Commands on their way to the leader are said not to be done when their node stops",
    file: "runtime/writes/call-forwarder.ts",
    from: 'outcomeAtNodeEnd: () => (mayTakeEffect(pending) ? "unknown" : "not-done"),',
    to: 'outcomeAtNodeEnd: () => "not-done",',
  },
  {
    code: "K4g",
    title: "A command that was passed on and took too long is said not to be done",
    file: "runtime/writes/call-forwarder.ts",
    from: "if (mayTakeEffect(pending)) {\n      const message",
    to: "if (pending.runsHere) {\n      const message",
  },
  {
    code: "K4h",
    title: "What the leader does not know the outcome of is repeated",
    file: "runtime/writes/call-forwarder.ts",
    from: 'if (answer.outcome === "not-done" && RETRYABLE_CODES.has(answer.code)) {',
    to: 'if (answer.outcome !== "done") {',
  },
  {
    code: "T6b",
    title: "An answer goes to the call that is asked now, whichever it was for",
    file: "runtime/writes/call-forwarder.ts",
    from: "const pending = this.#pending.get(id);",
    to: "const pending = this.#pending.get(id) ?? this.#pending.values().next().value;",
  },
  {
    code: "O7c",
    title: "The bytes of a call that was passed on stay on the books",
    file: "runtime/writes/call-forwarder.ts",
    from: "if (this.#pending.delete(pending.attemptId)) this.#bytes -= pending.forwardable.payload.length;",
    to: "this.#pending.delete(pending.attemptId);",
  },
];
