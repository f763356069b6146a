import { createServer, type RequestListener } from "node:http";
import { expect, it, onTestFinished } from "vitest";
import { listen } from "../shared/listen.ts";
import { ANY_PORT } from "../test/serving.ts";
import { AdminClient } from "./admin-client.ts";
import { KvClientError } from "./client-error.ts";

async function clientOf(listener: RequestListener): Promise<AdminClient> {
  const server = createServer(listener);
  const { port } = await listen(server, ANY_PORT);
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return new AdminClient([`127.0.0.1:${port}`]);
}

async function errorOf(promise: Promise<unknown>): Promise<unknown[]> {
  const error: unknown = await promise.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(KvClientError);
  const { code, outcome } = error as KvClientError;
  return [code, outcome];
}

it("a lost connection in the middle of an answer is an unknown outcome, not a raw error", async () => {
  const client = await clientOf((_, response) => {
    response.writeHead(200, { "Content-Length": "100" });
    response.write("{");
    setTimeout(() => response.destroy(), 20);
  });
  expect(await errorOf(client.change("DELETE", "/members/n1"))).toEqual(["CONNECTION_LOST", "unknown"]);
  expect(await errorOf(client.members())).toEqual(["CONNECTION_LOST", "unknown"]);
  expect(await errorOf(client.snapshot(1000))).toEqual(["CONNECTION_LOST", "unknown"]);
});

it("an answer that isn't JSON, or that redirects nowhere, is a bad answer", async () => {
  const client = await clientOf((_, response) => void response.end("<html>"));
  expect(await errorOf(client.change("DELETE", "/members/n1"))).toEqual(["BAD_ANSWER", "unknown"]);
  const lost = await clientOf(
    (_, response) => void response.writeHead(307, { Location: "nowhere" }).end("{}"),
  );
  expect(await errorOf(lost.change("DELETE", "/members/n1"))).toEqual(["BAD_ANSWER", "unknown"]);
});

it("an answer that refuses is that error, and not taken for a node that can't be reached", async () => {
  const client = await clientOf((_, response) => {
    response.writeHead(503, { "Content-Type": "application/json" });
    response.end(
      JSON.stringify({ error: { code: "NO_LEADER", message: "no leader is known", outcome: "not-done" } }),
    );
  });
  expect(await errorOf(client.members())).toEqual(["NO_LEADER", "not-done"]);
});

it("a JSON answer without what a node answers is a bad answer", async () => {
  const client = await clientOf((_, response) => void response.end("null"));
  expect(await errorOf(client.members())).toEqual(["BAD_ANSWER", "not-done"]);
  expect(await errorOf(client.snapshot(1000))).toEqual(["BAD_ANSWER", "unknown"]);
  expect(await errorOf(client.transfer("n2"))).toEqual(["BAD_ANSWER", "unknown"]);
});
