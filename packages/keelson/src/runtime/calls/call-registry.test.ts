import { describe, expect, it } from "vitest";
import { simulatedEnvironment } from "../../environment/simulated/simulated-environment.ts";
import { AbortedError, ClosedError, type Outcome, type RaftError } from "../../errors.ts";
import { CallDeadlines } from "./call-deadlines.ts";
import { CallRegistry } from "./call-registry.ts";
import { describeCancellation, type Cancellation } from "./call.ts";

function setUp(refusal: RaftError | null = null): {
  calls: CallRegistry;
  deadlines: CallDeadlines;
  advance: (ms: number) => Promise<void>;
} {
  const environment = simulatedEnvironment();
  const deadlines = new CallDeadlines(environment);
  const calls = new CallRegistry({ environment, deadlines, timeoutMs: 100, refusal: () => refusal });
  return { calls, deadlines, advance: (ms) => environment.clock.advance(ms) };
}

const onCancel = (cancellation: Cancellation): RaftError =>
  new AbortedError("unknown", describeCancellation(cancellation));

const closed = (outcome: Outcome): RaftError => new ClosedError(outcome);

describe("the registry of calls", () => {
  it("knows each call until it is settled, however that comes", async () => {
    const { calls, deadlines, advance } = setUp();
    const controller = new AbortController();
    const answered = calls.begin<number>("read", {}, { onCancel });
    const failed = calls.begin("read", {}, { onCancel });
    const late = calls.begin("proposal", {}, { onCancel });
    const aborted = calls.begin("transfer", { signal: controller.signal, timeoutMs: Infinity }, { onCancel });
    expect([calls.count(), calls.count("read"), calls.count("snapshot")]).toEqual([4, 2, 0]);
    const results = Promise.allSettled([answered.promise, failed.promise, late.promise, aborted.promise]);
    answered.resolve(7);
    failed.reject(new Error("no"));
    expect(calls.count()).toBe(2);
    controller.abort();
    await advance(130);
    expect([calls.count(), deadlines.size]).toEqual([0, 0]);
    expect(await results).toMatchObject([
      { value: 7 },
      { reason: { message: "no" } },
      { reason: { message: "no answer within 100 ms" } },
      { reason: { message: "the caller's signal ended the wait" } },
    ]);
  });

  it("ends all open calls with the outcome of their kind, or the one that their part names", async () => {
    const { calls, deadlines } = setUp();
    let hasBegun = false;
    const forwarded = { onCancel, outcomeAtNodeEnd: (): Outcome => (hasBegun ? "unknown" : "not-done") };
    const kinds = ["proposal", "read", "initialize", "membership-change", "transfer", "snapshot"] as const;
    const open = kinds.map((kind) => calls.begin(kind, { timeoutMs: Infinity }, { onCancel }));
    open.push(calls.begin("forwarded", {}, forwarded));
    hasBegun = true;
    open.push(calls.begin("forwarded", {}, forwarded));
    const results = Promise.allSettled(open.map(({ promise }) => promise));
    calls.endAll(closed);
    expect([calls.count(), deadlines.size]).toEqual([0, 0]);
    const outcomes = (await results).map((result) => (result as { reason: RaftError }).reason.outcome);
    const unknown: Outcome[] = ["unknown", "not-done", "unknown", "unknown", "unknown", "unknown"];
    // Both forwarded calls: `outcomeAtNodeEnd` is called when the node ends, not when the call begins.
    expect(outcomes).toEqual([...unknown, "unknown", "unknown"]);
  });

  it("ends a call that is begun after the end at once", async () => {
    const { calls } = setUp();
    calls.endAll(closed);
    const call = calls.begin("proposal", {}, { onCancel });
    await expect(call.promise).rejects.toMatchObject({ code: "CLOSED", outcome: "unknown" });
    expect(calls.count()).toBe(0);
  });

  it("refuses calls before they have any effect", () => {
    expect(() => {
      setUp(new ClosedError()).calls.check({});
    }).toThrow(ClosedError);
    const { calls } = setUp();
    expect(() => {
      calls.check({ timeoutMs: Number.NaN });
    }).toThrow("timeoutMs is NaN");
    expect(() => {
      calls.check({ signal: AbortSignal.abort() });
    }).toThrow("aborted before the call");
    expect(() => {
      calls.check({ timeoutMs: 0 });
    }).not.toThrow();
  });
});
