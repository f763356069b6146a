import { expect, it } from "vitest";
import { ExampleProcess, freeAddresses, temporaryDirectory, until } from "./example-process.ts";

function commandsOf({ lines }: ExampleProcess): string[] {
  return lines.filter((line) => line.startsWith("command "));
}

it("three hosts print the same commands in the same order, also one that was killed and started again", async () => {
  const hosts = await freeAddresses(3);
  const folder = temporaryDirectory();
  const start = (host: string): ExampleProcess =>
    new ExampleProcess("simple", [host, `data-${hosts.indexOf(host)}`, ...hosts], folder);
  const [first, ...others] = hosts.map(start);
  const all = [first!, ...others];
  const have = (processes: readonly ExampleProcess[], count: number) => () => {
    for (const { isRunning, stderr } of processes) expect(isRunning, stderr).toBe(true);
    return processes.every((one) => commandsOf(one).length >= count);
  };
  await until("three commands on each host", have(all, 3));
  const before = commandsOf(first!);
  expect(all.map(commandsOf)).toEqual([before, before, before]);
  expect(before.map((line) => line.replace(/ at index.*/, ""))).toEqual([
    "command 0",
    "command 1",
    "command 2",
  ]);
  expect(before.map((line) => line.replace(/.* of /, "")).sort()).toEqual([...hosts].sort());
  for (const { lines } of all)
    expect(lines.some((line) => /^my command is number [012]$/.test(line))).toBe(true);

  // A host that comes back prints everything again, and appends another command.
  await first!.kill();
  const again = start(hosts[0]!);
  await until("the fourth command on each host", have([again, ...others], 4));
  const after = commandsOf(again);
  expect(after.slice(0, 3)).toEqual(before);
  expect(after[3]).toMatch(new RegExp(`^command 3 at index \\d+: bar of ${hosts[0]!}$`));
  expect(others.map(commandsOf)).toEqual([after, after]);
});
