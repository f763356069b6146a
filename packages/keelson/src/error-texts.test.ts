import { expect, it } from "vitest";
import { nodeEnvironment } from "./environment/node/node-environment.ts";
import { textOfThrown } from "./errors.ts";

it("names the errors inside an error without a message, or its code [Z21]", () => {
  const refused = [new Error("connect ECONNREFUSED ::1:7"), new Error("connect ECONNREFUSED 127.0.0.1:7")];
  expect(textOfThrown(new AggregateError(refused))).toBe(
    "connect ECONNREFUSED ::1:7; connect ECONNREFUSED 127.0.0.1:7",
  );
  expect(textOfThrown(new AggregateError(refused, "both failed"))).toBe("both failed");
  expect(textOfThrown(new AggregateError([new AggregateError(refused.slice(1))]))).toBe(refused[1]?.message);
  expect(textOfThrown(new Error("", { cause: new Error("why") }))).toBe("why");
  expect(textOfThrown(Object.assign(new Error(""), { code: "EIO" }))).toBe("EIO");
  expect(textOfThrown(new TypeError(""))).toBe("TypeError");
});

it("ends although the causes form a ring", () => {
  const ring = new Error("");
  ring.cause = ring;
  expect(textOfThrown(ring)).toBe("Error");
});

it("gives a reason when no address of a host takes a connection", async () => {
  // Where localhost has an address of either family, Node tries both, and its error has no message.
  const connection = nodeEnvironment().network.connect("localhost:1");
  const reason = await new Promise<string>((resolve) => {
    connection.handler = { onData: () => undefined, onClose: resolve };
  });
  expect(reason).toContain("ECONNREFUSED");
});
