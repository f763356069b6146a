import path from "node:path";
import { Raft } from "keelson";
import { memoryNetwork, memoryTransport } from "keelson/transport/memory";
import { wal } from "keelson/storage/wal";
import { describe, expect, it, onTestFinished } from "vitest";
import type { KvCommand, KvResult } from "../store/commands.ts";
import { HttpServer } from "./http-server.ts";
import { openDatabase } from "../store/level-database.ts";
import { KvStateMachine } from "../store/state-machine.ts";
import { ANY_PORT } from "../test/serving.ts";
import { temporaryDirectory } from "../test/temporary.ts";

interface Node {
  readonly raft: Raft<KvCommand, KvResult>;
  readonly close: () => Promise<void>;
  readonly request: (
    method: string,
    target: string,
    headers?: Record<string, string>,
    body?: string,
  ) => Promise<Response>;
}

/** A cluster of one node with a real log and state, served over HTTP. */
async function open(directory: string): Promise<Node> {
  const store = new KvStateMachine(() => openDatabase(path.join(directory, "state")));
  const raft = await Raft.open<KvCommand, KvResult>({
    id: "a",
    stateMachine: store,
    log: wal(path.join(directory, "log")),
    transport: memoryTransport(memoryNetwork(), "a:1"),
    timings: { electionTimeoutMinMs: 50, electionTimeoutMaxMs: 100, heartbeatMs: 20 },
  });
  await raft.initialize({ a: "a:1" });
  const server = await HttpServer.listen(ANY_PORT);
  server.serve({ node: raft, store });
  const close = async (): Promise<void> => {
    await server.close();
    await raft.close();
  };
  onTestFinished(close);
  await raft.read(() => 0);
  return {
    raft,
    close,
    request: (method, target, headers = {}, body) =>
      fetch(`http://${server.address}${target}`, {
        method,
        headers,
        ...(body === undefined ? {} : { body }),
      }),
  };
}

describe("a write in a session", () => {
  it("takes effect once, and is answered as the first time, also after a restart (K1)", async () => {
    const directory = temporaryDirectory();
    const first = await open(directory);
    const { session } = (await (await first.request("POST", "/sessions")).json()) as { session: number };
    const headers = { "Keelson-Session": String(session), "Keelson-Sequence": "1", "If-None-Match": "*" };
    const answer = await first.request("PUT", "/kv/a", headers, "1");
    const said = [answer.status, await answer.text(), answer.headers.get("etag")];
    expect(said[0]).toBe(200);
    const again = await first.request("PUT", "/kv/a", headers, "1");
    expect([again.status, await again.text(), again.headers.get("etag")]).toEqual(said);
    await first.close();
    const second = await open(directory);
    const later = await second.request("PUT", "/kv/a", headers, "1");
    expect([later.status, await later.text(), later.headers.get("etag")]).toEqual(said);
    // Without the session, the condition of the same request no longer holds.
    const other = await second.request("PUT", "/kv/a", { "If-None-Match": "*" }, "1");
    expect(other.status).toBe(412);
    expect(second.raft.metrics().sessions.open).toBe(1);
    expect((await second.request("DELETE", `/sessions/${session}`)).status).toBe(204);
    // It took effect before the session ended, so the retry must not say that it did not (Z6).
    const late = await second.request("PUT", "/kv/a", headers, "1");
    expect([late.status, await late.json()]).toMatchObject([
      410,
      { error: { code: "SESSION_EXPIRED", outcome: "unknown" } },
    ]);
  });
});
