/**
 * The same random calls by HTTP and by the binary protocol, on two nodes that begin alike: the results, the
 * errors and the states afterwards must be the same.
 */
import {
  AnswerForgottenError,
  CommandTooLargeError,
  InvalidOptionError,
  NotLeaderError,
  OutcomeUnknownError,
  OverloadedError,
  SessionExpiredError,
} from "keelson";
import { describe, expect, it } from "vitest";
import type { Answer } from "../binary/answers.ts";
import type { CallWriter } from "../binary/calls.ts";
import type { Consistency } from "../binary/wire.ts";
import { percentEncode, targetOfKey } from "../http/request-syntax.ts";
import type { Condition } from "../store/commands.ts";
import { BinaryClient } from "../test/binary-client.ts";
import { start } from "../test/started-http.ts";

/** Calls of one run, and runs: enough for every pair of call and state to occur often. */
const CALLS = 150;
const SEEDS = [1, 2, 3];

/** One call in both protocols. */
interface Both {
  readonly what: string;
  readonly http: { readonly method: string; readonly target: string; readonly init: RequestInit };
  readonly binary: (writer: CallWriter, id: number) => void;
}

describe("a call by HTTP and by the binary protocol", () => {
  it.each(SEEDS)("has the same result, error and effect (seed %i)", async (seed) => {
    const next = random(seed);
    const [one, other] = [await start(), await start()];
    const client = await BinaryClient.connect(other.server.address);
    const kinds = new Set<string>();
    for (let count = 0; count < CALLS; count++) {
      const failure = next(6) === 0 ? failureFor(next(8)) : null;
      one.node.failure = failure;
      other.node.failure = failure;
      const { what, http, binary } = anyCall(next);
      const [response, answer] = await Promise.all([
        one.request(http.method, http.target, http.init),
        client.call(binary),
      ]);
      const told = await ofResponse(response);
      expect(ofAnswer(answer), `call ${count}: ${what}`).toEqual(told);
      expect(other.node.writeOptions).toEqual(one.node.writeOptions);
      kinds.add(`${http.method} ${String(told["status"])}`);
    }
    one.node.failure = null;
    other.node.failure = null;
    expect(other.node.sessionCalls).toEqual(one.node.sessionCalls);
    const states = [one, other].map(async ({ request }) => (await request("GET", "/kv?limit=1000")).text());
    expect(await states[1]).toBe(await states[0]);
    // The run was no trivial one.
    expect(kinds.size).toBeGreaterThan(10);
    expect([one.mistakes.length, other.mistakes.length]).toEqual([0, 0]);
  });
});

const KEYS = ["a", "b", "c/d", "..", "\0ü", "k".repeat(1024)];

function anyCall(next: (below: number) => number): Both {
  const key = Buffer.from(next(20) === 0 ? "k".repeat(1025) : (KEYS[next(KEYS.length)] ?? ""));
  const target = targetOfKey(key);
  const consistency = (["linearizable", "lease", "stale"] as const)[next(3)] ?? "lease";
  switch (next(7)) {
    case 0:
    case 1:
    case 2:
      return anyPut(next, key, target);
    case 3:
      return anyDelete(next, key, target);
    case 4:
      return anyGet(next, key, target, consistency);
    case 5:
      return anyList(next, consistency);
    default:
      return next(2) === 0 ? anyOpening(next) : anyEnd(next);
  }
}

function anyPut(next: (below: number) => number, key: Buffer, target: string): Both {
  const value = Buffer.alloc(next(4) === 0 ? 0 : next(300), next(256));
  const { condition, headers } = anyCondition(next);
  const session = anySession(next);
  return {
    what: `put ${JSON.stringify({ key: key.toString(), condition, session })}`,
    http: {
      method: "PUT",
      target,
      init: { body: value, headers: { ...headers, ...sessionHeaders(session) } },
    },
    binary: (writer, id) => {
      writer.put(id, key, value, condition, session);
    },
  };
}

function anyDelete(next: (below: number) => number, key: Buffer, target: string): Both {
  const { condition, headers } = anyCondition(next);
  const session = anySession(next);
  return {
    what: `delete ${JSON.stringify({ key: key.toString(), condition, session })}`,
    http: { method: "DELETE", target, init: { headers: { ...headers, ...sessionHeaders(session) } } },
    binary: (writer, id) => {
      writer.delete(id, key, condition, session);
    },
  };
}

function anyGet(
  next: (below: number) => number,
  key: Buffer,
  target: string,
  consistency: Consistency,
): Both {
  const known = next(3);
  // Enough of them that one is often the key's.
  const base = next(40);
  const versions = Array.from({ length: 16 }, (_, at) => 1 + base + at);
  const list = versions.map((version) => `"${version}"`).join(", ");
  const unless: Condition | null =
    known === 0 ? null : known === 1 ? { type: "exists" } : { type: "version", versions };
  const headers: Record<string, string> = known === 0 ? {} : { "If-None-Match": known === 1 ? "*" : list };
  return {
    what: `get ${JSON.stringify({ key: key.toString(), consistency, unless })}`,
    http: {
      method: "GET",
      target: `${target}${target.includes("?") ? "&" : "?"}consistency=${consistency}`,
      init: { headers },
    },
    binary: (writer, id) => {
      writer.get(id, key, consistency, unless);
    },
  };
}

function anyList(next: (below: number) => number, consistency: Consistency): Both {
  const prefix = Buffer.from(["", "a", "c/", "z"][next(4)] ?? "");
  const after = Buffer.from(["", "a", "b"][next(3)] ?? "");
  const limit = [0, 1, 2, 1000, 1001][next(5)] ?? 1;
  const asked = limit === 0 ? "" : `&limit=${limit}`;
  const query = `prefix=${percentEncode(prefix)}&after=${percentEncode(after)}&consistency=${consistency}`;
  return {
    what: `list ${query}${asked}`,
    http: { method: "GET", target: `/kv?${query}${asked}`, init: {} },
    binary: (writer, id) => {
      writer.list(id, prefix, after, limit, consistency);
    },
  };
}

function anyOpening(next: (below: number) => number): Both {
  const ttlMs = [0, 1, 5000][next(3)] ?? 0;
  return {
    what: `open a session for ${ttlMs}`,
    http: { method: "POST", target: `/sessions${ttlMs === 0 ? "" : `?ttlMs=${ttlMs}`}`, init: {} },
    binary: (writer, id) => {
      writer.openSession(id, ttlMs);
    },
  };
}

function anyEnd(next: (below: number) => number): Both {
  const session = next(4);
  return {
    what: `end session ${session}`,
    http: { method: "DELETE", target: `/sessions/${session}`, init: {} },
    binary: (writer, id) => {
      writer.endSession(id, session);
    },
  };
}

function anyCondition(next: (below: number) => number): {
  readonly condition: Condition | null;
  readonly headers: Record<string, string>;
} {
  switch (next(4)) {
    case 0:
      return { condition: { type: "exists" }, headers: { "If-Match": "*" } };
    case 1:
      return { condition: { type: "absent" }, headers: { "If-None-Match": "*" } };
    case 2: {
      // Version 0 is none that a key has: HTTP takes such a tag for one that matches nothing.
      const versions = Array.from({ length: 1 + next(3) }, () => next(60));
      const list = versions.map((version) => `"${version}"`).join(",");
      return { condition: { type: "version", versions }, headers: { "If-Match": list } };
    }
    default:
      return { condition: null, headers: {} };
  }
}

interface Place {
  readonly id: number;
  readonly sequence: number;
  readonly lowestUnanswered: number;
}

function anySession(next: (below: number) => number): Place | null {
  // 0 and a lowest unanswered number above the sequence number aren't valid.
  return next(3) === 0 ? { id: next(4), sequence: 1 + next(4), lowestUnanswered: 1 + next(4) } : null;
}

function sessionHeaders(session: Place | null): Record<string, string> {
  if (session === null) return {};
  return {
    "Keelson-Session": String(session.id),
    "Keelson-Sequence": String(session.sequence),
    "Keelson-Unanswered": String(session.lowestUnanswered),
  };
}

function failureFor(kind: number): Error {
  const info = JSON.stringify({ line: "127.0.0.1:8001", http: "127.0.0.1:9001" });
  switch (kind) {
    case 0:
      return new NotLeaderError(null);
    case 1:
      return new NotLeaderError({ id: "n2", address: "h:1", info });
    case 2:
      return new OverloadedError("too many");
    case 3:
      return new SessionExpiredError(1);
    case 4:
      return new AnswerForgottenError(1, 2, "done");
    case 5:
      return new CommandTooLargeError(5, 4);
    case 6:
      return new InvalidOptionError("ttlMs is no number");
    default:
      return new OutcomeUnknownError("nobody knows");
  }
}

/** What HTTP says, in the form of `ofAnswer`. */
async function ofResponse(response: Response): Promise<Record<string, unknown>> {
  const { status, headers } = response;
  const body = Buffer.from(await response.arrayBuffer());
  const etag = headers.get("ETag");
  const staleness = headers.get("Keelson-Staleness");
  const common = { status, version: etag === null ? null : Number(etag.slice(1, -1)), staleness };
  if (status === 304) return { ...common, type: "unchanged" };
  if (status === 204) return { ...common, type: "ended" };
  if (status === 200 && headers.get("Content-Type") === "application/octet-stream")
    return { ...common, type: "value", value: body.toString("hex") };
  const json = JSON.parse(body.toString()) as Record<string, unknown>;
  const { error } = json as { error?: { code: string; message: string; outcome: string } };
  if (error === undefined) {
    if ("next" in json) return { ...common, type: "keys", keys: json["keys"], more: json["next"] !== null };
    return { ...common, ...json };
  }
  const location = headers.get("Location");
  const retryAfterMs = Number(headers.get("Retry-After") ?? 0) * 1000;
  const leader = location === null ? null : new URL(location).origin;
  return { ...common, type: "error", code: error.code, outcome: error.outcome, leader, retryAfterMs };
}

function ofAnswer(answer: Answer): Record<string, unknown> {
  const staleness = "staleness" in answer ? answer.staleness : null;
  const heard = staleness?.leaderHeardMsAgo ?? null;
  const text =
    staleness === null
      ? null
      : `applied=${staleness.appliedIndex}, commit=${staleness.commitIndex}` +
        (heard === null ? "" : `, leader-heard-ms=${heard}`);
  const common = { status: 200, version: null, staleness: text };
  switch (answer.type) {
    case "put":
      return { ...common, index: answer.index, version: answer.version };
    case "deleted":
      return { ...common, index: answer.index, existed: answer.existed };
    case "value": {
      const value = Buffer.from(answer.value).toString("hex");
      return { ...common, type: "value", value, version: answer.version };
    }
    case "unchanged":
      return { ...common, status: 304, type: "unchanged", version: answer.version };
    case "keys": {
      const keys = answer.keys.map(({ key, version, bytes }) => ({
        ...{ key: Buffer.from(key).toString(), version, bytes },
      }));
      return { ...common, type: "keys", keys, more: answer.more };
    }
    case "session":
      return { ...common, status: 201, session: answer.session, ttlMs: answer.ttlMs };
    case "ended":
      return { ...common, status: 204, type: "ended" };
    case "error": {
      const { status, code, outcome, leader, retryAfterMs, version } = answer.error;
      return { ...common, type: "error", status, version, code, outcome, leader, retryAfterMs };
    }
  }
}

/** Whole numbers below a bound, the same for the same seed. */
function random(seed: number): (below: number) => number {
  let state = seed * 0x9e37_79b9;
  return (below) => {
    state = (state + 0x6d2b_79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}
