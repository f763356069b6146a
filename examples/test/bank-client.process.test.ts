import { expect, it } from "vitest";
import { ExampleProcess, freeAddresses, temporaryDirectory, until } from "./example-process.ts";

it("a client of the bank gets its answers although the first of its nodes is down", async () => {
  const addresses = await freeAddresses(4);
  const [down, host, peer, otherPeer] = addresses as [string, string, string, string];
  const folder = temporaryDirectory();
  // Two nodes of a bank, of which the client knows one.
  const members = [`a=${peer}`, `b=${otherPeer}`];
  const first = new ExampleProcess("bank", ["a", "data/a", host.split(":")[1]!, ...members], folder);
  const second = new ExampleProcess("bank", ["b", "data/b", "0", ...members], folder);
  await until("both listen", () => first.lines.length > 0 && second.lines.length > 0);

  const client = new ExampleProcess("bank-client", [down, host], folder);
  expect(await client.ended).toBe(0);
  expect(client.lines).toEqual([
    '{"type":"done","balance":10}',
    expect.stringMatching(/^\{"type":"refused","reason":"there is an account cid-\d+ already"\}$/),
  ]);
});
