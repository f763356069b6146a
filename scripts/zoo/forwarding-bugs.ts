import type { Bug } from "./bug.ts";

/** Bugs in how calls are passed on to the leader, and their answers back. */
export const FORWARDING_BUGS: readonly Bug[] = [
  {
    code: "K1d",
    title: "A command that was forwarded to one leader and not answered is forwarded to the next leader",
    file: "runtime/writes/call-forwarder.ts",
    from: "else pending.giveUpAt ??= environment.now() + timings.electionTimeoutMaxMs;",
    to: "else {\n        void environment;\n        void timings;\n        this.#prepareRetry(pending);\n      }",
  },
  {
    code: "K1e",
    title: "A leader executes a duplicated forward request twice",
    file: "runtime/writes/forwarded-call-server.ts",
    from: "if (id <= this.#floor || this.#above.has(id)) return false;",
    to: "if (id <= this.#floor) return false;",
  },
  {
    code: "K1f",
    title: "A leader executes a request that was meant for the leader of an earlier term",
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
    title: "A forwarded command is kept in the codec's own buffer",
    file: "runtime/writes/proposer.ts",
    from: 'const payload = copyBytes(bytes, "what encode returns");',
    to: "const payload = bytes;",
  },
  {
    code: "Z11b",
    title: "A session keeps an answer in the codec's own buffer",
    file: "runtime/shared/result-encoder.ts",
    from: 'const bytes = copyBytes(codec.encodeResult(result), "what encodeResult returns");',
    to: "const bytes = codec.encodeResult(result);",
  },
  {
    code: "Z11c",
    title: "A caller on the leader gets the result object that the state machine still uses",
    file: "runtime/loop/applier.ts",
    from: "if (!results.isAvailable || !this.#host.isAwaited(position)) {",
    to: "if (results.isAvailable || !this.#host.isAwaited(position)) {",
  },
  {
    code: "K4e",
    title: "A forwarded command is reported as not done because its leader was lost before it answered",
    file: "runtime/writes/call-forwarder.ts",
    from: "new OutcomeUnknownError(\n        `${sent.to} was asked ${who}",
    to: 'new AbortedError("not-done",\n        `${sent.to} was asked ${who}',
  },
  {
    code: "K4f",
    title: "Forwarded commands are reported as not done because their node stops",
    file: "runtime/writes/call-forwarder.ts",
    from: 'outcomeAtNodeEnd: () => (mayTakeEffect(pending) ? "unknown" : "not-done"),',
    to: 'outcomeAtNodeEnd: () => "not-done",',
  },
  {
    code: "K4g",
    title: "A forwarded command is reported as not done because its time limit passed",
    file: "runtime/writes/call-forwarder.ts",
    from: "if (mayTakeEffect(pending)) {\n      const message",
    to: "if (pending.runsHere) {\n      const message",
  },
  {
    code: "K4h",
    title: "A forwarded command is repeated although the leader answered that its outcome is unknown",
    file: "runtime/writes/call-forwarder.ts",
    from: 'code === "OUTCOME_UNKNOWN" && pending.forwardable.isRepeatable) {',
    to: 'code === "OUTCOME_UNKNOWN") {',
  },
  {
    code: "K4i",
    title:
      "A session's command is reported as not done because its last attempt was refused, though an earlier one wasn't answered",
    file: "runtime/writes/call-forwarder.ts",
    from: "pending.mayHaveTakenEffect = true;",
    to: "pending.mayHaveTakenEffect = false;",
  },
  {
    code: "T6b",
    title: "An answer is given to the current call, not to the call that it answers",
    file: "runtime/writes/call-forwarder.ts",
    from: "const pending = this.#pending.get(id);\n    // Ignored",
    to: "const pending = this.#pending.get(id) ?? this.#pending.values().next().value;\n    // Ignored",
  },
  {
    code: "O7c",
    title: "The bytes of a finished forwarded call still count as pending",
    file: "runtime/writes/call-forwarder.ts",
    from: "if (this.#pending.delete(pending.attemptId)) this.#bytes -= pending.forwardable.payload.length;",
    to: "this.#pending.delete(pending.attemptId);",
  },
];
