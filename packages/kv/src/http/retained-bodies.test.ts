/**
 * Compares the bytes that are counted of request bodies with the memory that the process really holds for
 * them.
 */
import { describe, expect, it, vi } from "vitest";
import { serverBudgets } from "../shared/memory-budget.ts";
import { VALUE_BYTES_MAX } from "../store/commands.ts";
import { memoryHeld } from "../test/memory-held.ts";
import { connectTo } from "../test/raw-client.ts";
import { start } from "../test/started-http.ts";

const MIB = 1024 * 1024;

/** What may come from other parts of the process. */
const NOISE_BYTES = 3 * MIB;

/** A connection with both of its ends in this process, and a request of which the headers are parsed. */
const CONNECTION_BYTES = 64 * 1024;

const head = (rest: string): string => `PUT /kv/a HTTP/1.1\r\nHost: localhost\r\n${rest}\r\n\r\n`;
const CHUNK_OF_ONE_BYTE = "1\r\nx\r\n";

describe("bodies that are still to come", () => {
  it.each([
    ["large pieces", 16, head(`Content-Length: ${VALUE_BYTES_MAX}`) + "x".repeat(700_000), 700_000],
    ["one byte at a time", 16, head("Transfer-Encoding: chunked") + CHUNK_OF_ONE_BYTE.repeat(60_000), 60_000],
    ["nothing yet", 100, head(`Content-Length: ${VALUE_BYTES_MAX}`), 0],
  ])(
    "are counted as what they hold: %s (Z11, Z18)",
    { timeout: 60_000 },
    async (_what, count, text, bytes) => {
      const budgets = serverBudgets();
      const { server, request } = await start(undefined, { budgets });
      await request("PUT", "/kv/a", { body: "compiles the server" });
      const before = memoryHeld();
      for (let at = 0; at < count; at++) (await connectTo(server.address)).write(text);
      await vi.waitFor(
        () => {
          expect(budgets.requests.bytes).toBeGreaterThanOrEqual(count * bytes);
        },
        { timeout: 30_000 },
      );
      const held = memoryHeld() - before;
      expect(held).toBeGreaterThan(count * bytes);
      expect(held).toBeLessThan(budgets.requests.bytes + count * CONNECTION_BYTES + NOISE_BYTES);
    },
  );
});
