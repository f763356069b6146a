// A program that opens a node, uses it and stops it: the process must then end by itself, as no timer or
// socket may keep it alive. Arguments: a directory, and how the node stops.

import { wal } from "../../storage/wal/index.ts";
import { tcp } from "../../transport/tcp/index.ts";
import { Raft } from "../raft.ts";
import { Journal } from "./journal.ts";

const [, , directory = "", ending = ""] = process.argv;
const transport = tcp({ listen: "127.0.0.1:0" });
const journal = new Journal();
const raft = await Raft.open<string, number>({
  id: "a",
  stateMachine: journal,
  log: wal(directory),
  transport,
});
// The second member doesn't exist, so the transport dials it in vain, and no election can be won.
const others: Record<string, string> = ending === "without a leader" ? { b: "127.0.0.1:9" } : {};
await raft.initialize({ a: transport.address, ...others });
if (ending === "without a leader") {
  const read = raft
    .read(() => journal.texts.length)
    .catch((error: unknown) => (error as { code: string }).code);
  await raft.close();
  console.log(await read);
} else {
  for await (const change of raft.changes()) if (change.type === "leader" && change.leader === "a") break;
  console.log(await raft.write("x"));
  if (ending === "by a failure") {
    console.log(await raft.write("break").catch((error: unknown) => (error as { code: string }).code));
    await raft.stopped;
  } else {
    await raft.close();
  }
}
