import { expect, it } from "vitest";
import { ExampleProcess, freeAddresses, temporaryDirectory, until } from "./example-process.ts";

const IDS = ["a", "b", "c"];

interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

async function ask(host: string, path: string, body?: unknown): Promise<Answer> {
  const response = await fetch(
    `http://${host}/${path}`,
    body === undefined ? {} : { method: "POST", body: JSON.stringify(body) },
  );
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

it("a bank of three nodes takes each request at any node, and moves no money twice, also when a node is killed", async () => {
  const addresses = await freeAddresses(6);
  const hosts = addresses.slice(0, 3);
  const members = IDS.map((id, at) => `${id}=${addresses[at + 3]!}`);
  const folder = temporaryDirectory();
  const start = (id: string): ExampleProcess => {
    const port = hosts[IDS.indexOf(id)]!.split(":")[1]!;
    return new ExampleProcess("bank", [id, `data/${id}`, port, ...members], folder);
  };
  const processes = IDS.map(start);
  await until("all three listen", () => processes.every(({ lines }) => lines.length > 0));
  const [first, second, third] = hosts as [string, string, string];

  // Each node takes the requests of the same session.
  const opened = await ask(first, "sessions", {});
  expect(opened.status).toBe(201);
  const session = opened.body["session"];
  const send = (host: string, number: number, command: unknown): Promise<Answer> =>
    ask(host, "commands", { session, number, command });
  const done = (balance: number): Answer => ({ status: 200, body: { type: "done", balance } });
  expect(await send(first, 1, { type: "open", account: "ann", amount: 100 })).toEqual(done(100));
  expect(await send(second, 2, { type: "open", account: "bob", amount: 0 })).toEqual(done(0));
  const transfer = { type: "transfer", from: "ann", to: "bob", amount: 30 };
  expect(await send(third, 3, transfer)).toEqual(done(70));

  // The same request again, at each node: the same answer, and no second transfer.
  for (const host of hosts) expect(await send(host, 3, transfer)).toEqual(done(70));

  // A refusal is an answer, the same at each node.
  const refusal = { type: "refused", reason: "ann has 70, which is less than 71" };
  for (const host of hosts) {
    expect(await send(host, 4, { ...transfer, amount: 71 })).toEqual({ status: 409, body: refusal });
  }
  // What is no command doesn't get into the log, and uses up no number.
  expect(await send(first, 5, { ...transfer, amount: -1 })).toMatchObject({
    status: 400,
    body: { code: "COMMAND_INVALID", outcome: "not-done" },
  });

  // Two nodes serve without the third, and it catches up.
  await processes[0]!.kill();
  expect(await send(second, 5, { ...transfer, amount: 20 })).toEqual(done(50));
  expect(await send(third, 5, { ...transfer, amount: 20 })).toEqual(done(50));
  const again = start("a");
  await until("the first node listens again", () => again.lines.length > 0);
  for (const host of hosts) {
    expect(await ask(host, "accounts/ann")).toEqual({ status: 200, body: { balance: 50 } });
    expect(await ask(host, "accounts/bob")).toEqual({ status: 200, body: { balance: 50 } });
  }
  await again.kill("SIGTERM");
  expect(await again.ended).toBe(0);
});
