import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { afterEach, describe, expect, it } from "vitest";
import { nodeEnvironment } from "../../environment/node/node-environment.ts";
import type { LogEvent } from "../../log-event.ts";
import { memoryLog } from "../../storage/memory/index.ts";
import { memoryNetwork, memoryTransport } from "../../transport/memory/index.ts";
import { Raft } from "../raft.ts";
import {
  DIAGNOSTICS_CHANNELS,
  NodeDiagnostics,
  type ElectionDiagnostics,
  type MessageDiagnostics,
  type StorageDiagnostics,
} from "./node-diagnostics.ts";

const SECRET = "the command of a client";

let undo: (() => void)[] = [];
afterEach(() => {
  for (const step of undo.splice(0)) step();
  undo = [];
});

/** Everything that is published on a channel from now on. */
function follow<T>(name: string): T[] {
  const seen: T[] = [];
  const onMessage = (message: unknown): void => void seen.push(message as T);
  subscribe(name, onMessage);
  undo.push(() => unsubscribe(name, onMessage));
  return seen;
}

/** Opens two nodes in this process, writes one command through each, takes b its vote, and closes them. */
async function twoNodes(): Promise<void> {
  const network = memoryNetwork();
  const members = { a: "a:1", b: "b:1" };
  const nodes = await Promise.all(
    Object.entries(members).map(([id, address]) =>
      Raft.open<string, number>({
        ...{ id, members, log: memoryLog(), transport: memoryTransport(network, address) },
        stateMachine: { apply: (command) => command.length },
      }),
    ),
  );
  for (const node of nodes) expect(await node.write(SECRET)).toBe(SECRET.length);
  await nodes[0]?.changeMembership({ demote: ["b"] });
  await Promise.all(nodes.map((node) => node.close()));
}

describe("the diagnostics channels", () => {
  it("show elections, messages, durable writes and the log, without commands", async () => {
    const elections = follow<ElectionDiagnostics>(DIAGNOSTICS_CHANNELS.election);
    const messages = follow<MessageDiagnostics>(DIAGNOSTICS_CHANNELS.message);
    const writes = follow<StorageDiagnostics>(DIAGNOSTICS_CHANNELS.storage);
    const events = follow<LogEvent>(DIAGNOSTICS_CHANNELS.log);
    await twoNodes();
    const leader = elections.find(({ role }) => role === "leader");
    expect(leader).toMatchObject({
      id: leader?.leader,
      text: `leader term=${String(leader?.term)} leader=${String(leader?.id)}`,
    });
    expect(events.map(({ text }) => text)).toContain(
      `${String(leader?.id)} leads in term ${String(leader?.term)}`,
    );
    for (const id of ["a", "b"]) {
      const texts = elections.filter((change) => change.id === id).map(({ text }) => text);
      expect(texts.filter((text, at) => text === texts[at - 1])).toEqual([]);
    }
    const vote = messages.find(({ type, direction }) => type === "request-vote" && direction === "sent");
    expect(vote?.text).toMatch(/^sent to [ab]: request-vote term=\d+ last=1@1/);
    expect(
      messages.some(({ type, direction }) => type === "append-entries-reply" && direction === "received"),
    ).toBe(true);
    // One of the two commands is forwarded: its size is there, and it isn't.
    const forwarded = messages.find(
      ({ type, direction }) => type === "forward-request" && direction === "sent",
    );
    expect(forwarded).toMatchObject({ message: null, bytes: SECRET.length + 2 });
    expect(writes.find(({ hardState }) => hardState !== null)?.text).toMatch(
      /^durable after [\d.]+ ms: save term=/,
    );
    const appended = writes.find(({ from, to }) => from > 1 && to > from);
    expect(appended?.text).toMatch(/append \d+/);
    expect(appended?.bytes).toBeGreaterThan(0);
    const all = JSON.stringify([elections, messages, writes, events]);
    expect(all).toContain("request-vote");
    expect(all).not.toContain("command of");
  });

  it("make nothing of what happens while nobody subscribes: one boolean is read", () => {
    let reads = 0;
    const channel = {
      get hasSubscribers(): boolean {
        reads += 1;
        return false;
      },
      publish: (): void => {
        throw new Error("there are no subscribers");
      },
    };
    const diagnostics = new NodeDiagnostics("a", { channel: () => channel });
    // Whatever else is read of a message throws.
    const untouchable = new Proxy({} as never, {
      get: (_, name) => {
        throw new Error(`${String(name)} was read`);
      },
    });
    const sender = diagnostics.senderOf({ send: () => true } as never);
    diagnostics.received(untouchable);
    expect(sender.send("b", untouchable)).toBe(true);
    expect(reads).toBe(2);
  });

  it("are Node's own: tools that know nothing of this package can subscribe", () => {
    const seen = follow("keelson:test");
    nodeEnvironment().diagnostics?.channel("keelson:test").publish("x");
    expect(seen).toEqual(["x"]);
  });
});
