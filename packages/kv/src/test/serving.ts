import path from "node:path";
import { onTestFinished } from "vitest";
import { openDatabase } from "../store/level-database.ts";
import { KvStateMachine } from "../store/state-machine.ts";
import { FakeNode } from "./fake-node.ts";
import { temporaryDirectory } from "./temporary.ts";

/** A fake node with a real state on disk, for a server under test. */
export async function fakeServing(): Promise<{ node: FakeNode; store: KvStateMachine }> {
  const directory = path.join(temporaryDirectory(), "state");
  const store = new KvStateMachine(() => openDatabase(directory));
  await store.open();
  onTestFinished(() => store.close());
  return { node: new FakeNode(store), store };
}

/** Any free port of the loopback address. */
export const ANY_PORT = { host: "127.0.0.1", port: 0 };
