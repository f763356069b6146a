// A replicated log, and nothing else: each host appends commands, and every host gets all of them in the same
// order.
//
// Start it three times, each as another of the hosts. Stop one of them with Ctrl-C and start it again: it
// gets what it has missed. What is in `raft-data` beside this file stays; remove it to begin anew.
//
//   node --conditions=source examples/simple.ts 127.0.0.1:3333
//   node --conditions=source examples/simple.ts 127.0.0.1:3334
//   node --conditions=source examples/simple.ts 127.0.0.1:3335
import { RaftConfig, run } from "keelson";

/** A command. It has to be JSON, because it travels to the other hosts and to the disk. */
interface YourType {
  readonly foo: string;
}

// The host of this process, where its log is, and all hosts, unless they are those above.
const [thisHost = "127.0.0.1:3333", data, ...given] = process.argv.slice(2);
const hosts = given.length > 0 ? given : ["127.0.0.1:3333", "127.0.0.1:3334", "127.0.0.1:3335"];

const config = RaftConfig.make(thisHost, hosts, data === undefined ? {} : { data });
const [client, committed] = await run<YourType>(config);

// Resolves when the command is on the disks of a majority. The cluster begins once all three hosts were up.
client.appendCommand({ foo: `bar of ${thisHost}` }, { timeoutMs: 60_000 }).then(
  ({ i }) => console.log(`my command is number ${i}`),
  (error: unknown) => console.error(`my command was not appended: ${String(error)}`),
);

// Each command, in the order that all hosts agree on, from the first one ever: apply it to your state here.
for await (const { index, i, command } of committed) {
  console.log(`command ${i} at index ${index}: ${command.foo}`);
}
