import { describe, expect, it } from "vitest";
import { simulatedEnvironment } from "../../environment/simulated/simulated-environment.ts";
import { AbortedError } from "../../errors.ts";
import { Call, describeCancellation } from "./call.ts";
import { CallDeadlines } from "./call-deadlines.ts";

function setUp(signal?: AbortSignal): {
  call: Call<string>;
  deadlines: CallDeadlines;
  advance: (ms: number) => Promise<void>;
} {
  const environment = simulatedEnvironment();
  const deadlines = new CallDeadlines(environment);
  const call = new Call<string>({
    deadlines,
    now: environment.now(),
    timeoutMs: 100,
    signal,
    endings: { onCancel: (cancellation) => new AbortedError("unknown", describeCancellation(cancellation)) },
    registry: { onSettled: () => undefined },
    kind: "proposal",
    number: 1,
  });
  return { call, deadlines, advance: (ms) => environment.clock.advance(ms) };
}

describe("a call", () => {
  it("is settled once, by the first of answer, error, signal and time limit, and holds no deadline after that", async () => {
    const controller = new AbortController();
    const { call, deadlines, advance } = setUp(controller.signal);
    expect([call.settled, deadlines.size]).toEqual([false, 1]);
    call.resolve("first");
    expect([call.settled, deadlines.size]).toEqual([true, 0]);
    call.resolve("second");
    call.reject(new Error("third"));
    controller.abort();
    await advance(200);
    expect(await call.promise).toBe("first");
  });

  it("ends at its deadline, and says how long it waited", async () => {
    const { call, advance } = setUp();
    const end = expect(call.promise).rejects.toThrow("no answer within 100 ms");
    await advance(130);
    call.resolve("too late");
    await end;
  });

  it("ends with its signal, and deletes its deadline", async () => {
    const controller = new AbortController();
    const { call, deadlines } = setUp(controller.signal);
    const end = expect(call.promise).rejects.toThrow("the caller's signal ended the wait");
    controller.abort();
    expect(deadlines.size).toBe(0);
    await end;
  });
});
