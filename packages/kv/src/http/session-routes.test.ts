import { AnswerForgottenError, InvalidOptionError, SessionExpiredError } from "keelson";
import { describe, expect, it } from "vitest";
import { errorOf, start } from "../test/started-http.ts";

describe("sessions", () => {
  it("are opened by POST and ended by DELETE", async () => {
    const { request, node } = await start();
    const opened = await request("POST", "/sessions");
    expect([opened.status, opened.headers.get("location"), await opened.json()]).toEqual([
      201,
      "/sessions/2",
      { session: 2, ttlMs: 60_000 },
    ]);
    expect((await request("POST", "/sessions?ttlMs=5000")).status).toBe(201);
    expect((await request("DELETE", "/sessions/2")).status).toBe(204);
    expect(node.sessionCalls).toEqual(["begin 2 for 60000", "begin 3 for 5000", "end 2"]);
  });

  it("are given for a write by its headers", async () => {
    const { request, node } = await start();
    const headers = { "Keelson-Session": "2", "Keelson-Sequence": "5", "Keelson-Unanswered": "3" };
    expect((await request("PUT", "/kv/a", { body: "1", headers })).status).toBe(200);
    expect(node.writeOptions).toEqual({ session: { id: 2, sequence: 5, lowestUnanswered: 3 } });
    const short = { "Keelson-Session": "2", "Keelson-Sequence": "6" };
    expect((await request("DELETE", "/kv/a", { headers: short })).status).toBe(200);
    expect(node.writeOptions).toEqual({ session: { id: 2, sequence: 6, lowestUnanswered: 6 } });
    expect((await request("PUT", "/kv/a", { body: "1" })).status).toBe(200);
    expect(node.writeOptions).toEqual({});
  });

  it.each([
    ["a session without a number", { "Keelson-Session": "2" }, "Keelson-Session and Keelson-Sequence"],
    ["a number without a session", { "Keelson-Sequence": "2" }, "Keelson-Session and Keelson-Sequence"],
    [
      "a session that is none",
      { "Keelson-Session": "x", "Keelson-Sequence": "1" },
      'Keelson-Session is a whole number from 1 on, not "x"',
    ],
    [
      "the number 0",
      { "Keelson-Session": "2", "Keelson-Sequence": "0" },
      'Keelson-Sequence is a whole number from 1 on, not "0"',
    ],
    [
      "a number beyond all",
      { "Keelson-Session": "9007199254740993", "Keelson-Sequence": "1" },
      "Keelson-Session is",
    ],
    [
      "a lowest unanswered above the number",
      { "Keelson-Session": "2", "Keelson-Sequence": "1", "Keelson-Unanswered": "2" },
      "Keelson-Unanswered is 2; it is at most Keelson-Sequence, 1",
    ],
  ])("are refused for %s", async (_what, headers, message) => {
    const { request, node } = await start();
    const response = await request("PUT", "/kv/a", { body: "1", headers });
    const error = await errorOf(response);
    expect([response.status, error.code, error.outcome]).toEqual([400, "BAD_REQUEST", "not-done"]);
    expect(error.message).toContain(message);
    expect(node.writeOptions).toEqual({});
  });

  it("that have ended answer writes with 410 and the write's outcome", async () => {
    const { request, node } = await start();
    for (const [failure, outcome] of [
      [new SessionExpiredError(2), "not-done"],
      [new SessionExpiredError(2, "unknown"), "unknown"],
      [new AnswerForgottenError(2, 1, "done"), "done"],
      [new AnswerForgottenError(2, 1, "unknown"), "unknown"],
    ] as const) {
      node.failure = failure;
      const response = await request("PUT", "/kv/a", { body: "1" });
      expect([response.status, await errorOf(response)]).toEqual([
        410,
        { code: failure.code, message: failure.message, outcome },
      ]);
    }
  });

  it("are refused for an invalid time to live, and can't be ended by an invalid id", async () => {
    const { request, node } = await start();
    expect((await request("POST", "/sessions?ttlMs=soon")).status).toBe(400);
    expect((await request("DELETE", "/sessions/seven")).status).toBe(400);
    expect((await request("GET", "/sessions")).headers.get("allow")).toBe("POST");
    expect((await request("PUT", "/sessions/7")).headers.get("allow")).toBe("DELETE");
    node.failure = new InvalidOptionError("ttlMs is 1");
    const response = await request("POST", "/sessions?ttlMs=1");
    expect([response.status, (await errorOf(response)).message]).toEqual([400, "ttlMs is 1"]);
  });
});
