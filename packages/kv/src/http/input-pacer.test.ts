import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { setImmediate } from "node:timers/promises";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { InputPacer, type PacedRequests } from "./input-pacer.ts";

const PLAIN: PacedRequests = { isOver: false, bodyBytesLeft: 0 };

/** A connection whose parser takes `sliceMs` for each slice, by a clock of the test. */
class Connection {
  readonly stream = new Duplex({ read: () => undefined, write: () => undefined });
  readonly slices: Buffer[] = [];

  constructor(pacer: InputPacer, requests = PLAIN, sliceMs = 1) {
    this.stream.on("data", (slice: Buffer) => {
      this.slices.push(slice);
      clock.ms += sliceMs;
    });
    pacer.pace(this.stream as unknown as Socket, requests);
  }

  get received(): Buffer {
    return Buffer.concat(this.slices);
  }
}

const clock = { ms: 0 };

function useClock(): void {
  clock.ms = 0;
  const spy = vi.spyOn(performance, "now").mockImplementation(() => clock.ms);
  onTestFinished(() => {
    spy.mockRestore();
  });
}

/**
 * Runs turns of the event loop until nothing more happens; returns how long each took by the test's clock.
 */
async function turnsOf(turns: number): Promise<number[]> {
  const found: number[] = [];
  for (let turn = 0; turn < turns; turn++) {
    const before = clock.ms;
    await setImmediate();
    found.push(clock.ms - before);
  }
  return found;
}

describe("the pacer of HTTP input (Z18, Z19)", () => {
  it("parses no more in a turn than the limit of time allows, and all of it in order", async () => {
    useClock();
    const pacer = new InputPacer();
    const connection = new Connection(pacer);
    const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, at) => at % 251));
    connection.stream.push(bytes);
    const others = Array.from({ length: 20 }, () => new Connection(pacer));
    for (const { stream } of others) stream.push(bytes);
    const turns = await turnsOf(400);
    for (const { received } of [connection, ...others]) expect(received.equals(bytes)).toBe(true);
    // 49 slices of a millisecond each. Those that were resumed use all of a turn's time.
    expect(Math.max(...turns)).toBeLessThanOrEqual(6);
    expect(turns.reduce((sum, ms) => sum + ms)).toBe(21 * 49);
  });

  it("lets connections take turns, so that a small request does not wait for a large one", async () => {
    useClock();
    const pacer = new InputPacer();
    const greedy = Array.from({ length: 4 }, () => new Connection(pacer));
    for (const { stream } of greedy) stream.push(Buffer.alloc(200_000));
    await turnsOf(2);
    const honest = new Connection(pacer);
    honest.stream.push(Buffer.from("GET"));
    await turnsOf(6);
    expect(honest.received.toString()).toBe("GET");
    expect(greedy.every(({ received }) => received.length < 100_000)).toBe(true);
    await turnsOf(400);
    expect(greedy.map(({ received }) => received.length)).toEqual([200_000, 200_000, 200_000, 200_000]);
  });

  it("hands over the bytes of a body at once, which cost the parser nothing", async () => {
    useClock();
    const connection = new Connection(new InputPacer(), { isOver: false, bodyBytesLeft: 65_536 }, 0);
    connection.stream.push(Buffer.alloc(65_536));
    await turnsOf(2);
    expect(connection.slices.map(({ length }) => length)).toEqual([65_536]);
  });

  it("parses nothing more of a connection that is over, whoever resumes it", async () => {
    useClock();
    let parsed = 0;
    const requests = {
      get isOver() {
        return parsed >= 2;
      },
      bodyBytesLeft: 0,
    };
    const connection = new Connection(new InputPacer(), requests, 0);
    vi.spyOn(connection.slices, "push").mockImplementation(() => (parsed += 1));
    connection.stream.push(Buffer.alloc(65_536));
    await turnsOf(2);
    connection.stream.resume();
    connection.stream.push(Buffer.alloc(65_536));
    await turnsOf(4);
    expect(parsed).toBe(2);
  });
});
