import { describe, expect, it } from "vitest";
import { FrameReader } from "../../codec/frame-reader.ts";
import { encodeControlMessage, type Frame } from "../../codec/frame.ts";
import type { Connection, ConnectionHandler } from "../../environment/environment.ts";
import {
  type SimulatedEnvironment,
  simulatedEnvironment,
} from "../../environment/simulated/simulated-environment.ts";
import { FramedConnection } from "./framed-connection.ts";

const IDLE_MS = 4_000;

/** A connection whose other end is played by the test. */
class Wire implements Connection {
  readonly peer = "peer";
  handler: ConnectionHandler | null = null;
  bufferedBytes = 0;
  destroyed: string | null = null;
  readonly said: Frame[] = [];
  readonly #reader = new FrameReader();

  write(bytes: Uint8Array): void {
    if (this.bufferedBytes > 0) this.bufferedBytes += bytes.length;
    this.#reader.feed(bytes);
    for (let frame = this.#reader.next(); frame !== null; frame = this.#reader.next()) this.said.push(frame);
  }
  pause(): void {
    // Bytes arrive only when the test passes them to the handler.
  }
  resume(): void {
    // As for `pause`.
  }
  destroy(reason = ""): void {
    if (this.destroyed !== null) return;
    this.destroyed = reason;
    this.handler?.onClose(reason);
  }
}

interface Bench {
  readonly wire: Wire;
  readonly connection: FramedConnection;
  readonly environment: SimulatedEnvironment;
  readonly frames: Frame[];
  readonly closes: string[];
}

function makeBench(environment = simulatedEnvironment()): Bench {
  const wire = new Wire();
  const frames: Frame[] = [];
  const closes: string[] = [];
  const connection = new FramedConnection(wire, environment, {
    onFrame: (frame) => frames.push(frame),
    onClosed: (reason) => closes.push(reason),
  });
  return { wire, connection, environment, frames, closes };
}

const ping = encodeControlMessage({ type: "ping" });
const pong = encodeControlMessage({ type: "pong" });

describe("FramedConnection", () => {
  it("closes when nothing was received for the idle limit, and not before", async () => {
    const { wire, connection, environment, closes } = makeBench();
    connection.establish(IDLE_MS, true);
    await environment.clock.advance(IDLE_MS - 1);
    expect(closes).toEqual([]);
    await environment.clock.advance(1);
    expect(closes).toEqual(["nothing heard for 4000 ms"]);
    expect(wire.said.filter(({ type }) => type === "ping")).toHaveLength(3);
    expect(environment.clock.pendingTimers).toBe(0);
  });

  it("stays open as long as anything is received, and answers pings", async () => {
    const { wire, connection, environment, frames, closes } = makeBench();
    connection.establish(IDLE_MS, false);
    for (let n = 0; n < 20; n++) {
      await environment.clock.advance(IDLE_MS - 10);
      wire.handler?.onData(n % 2 === 0 ? ping : pong);
    }
    expect([closes, frames]).toEqual([[], []]);
    expect(wire.said).toEqual(Array.from({ length: 10 }, () => ({ type: "pong" })));
  });

  it("stays open while the peer takes bytes from a backlog, although no pong arrives", async () => {
    const { wire, connection, environment, closes } = makeBench();
    connection.establish(IDLE_MS, true);
    wire.bufferedBytes = 10_000_000;
    for (let n = 0; n < 20; n++) {
      await environment.clock.advance(1_000);
      wire.bufferedBytes -= 100_000;
    }
    expect(closes).toEqual([]);
    // Now the backlog no longer shrinks: the system's buffers are full, and the peer does not read.
    await environment.clock.advance(IDLE_MS + 1_000);
    expect(closes).toEqual(["nothing heard for 4000 ms"]);
  });

  it("does not take written bytes as a sign of life when there is no backlog", async () => {
    const { connection, environment, closes } = makeBench();
    connection.establish(IDLE_MS, true);
    for (let n = 0; n < 50; n++) {
      connection.write(ping.slice());
      await environment.clock.advance(100);
    }
    expect(closes).toHaveLength(1);
  });

  it("does not count the time during which this process was stopped as silence of the peer", async () => {
    const environment = simulatedEnvironment();
    let slept = 0;
    const sleepy = { ...environment, now: () => environment.now() + slept };
    const { wire, connection, closes } = makeBench(sleepy);
    connection.establish(IDLE_MS, true);
    await environment.clock.advance(900);
    slept = 60_000;
    await environment.clock.advance(3_000);
    expect(closes).toEqual([]);
    wire.handler?.onData(pong);
    await environment.clock.advance(3_000);
    expect(closes).toEqual([]);
    await environment.clock.advance(3_000);
    expect(closes).toHaveLength(1);
  });

  it("sends one goodbye, receives nothing more, and closes after the linger time", async () => {
    const { wire, connection, environment, frames, closes } = makeBench();
    connection.establish(IDLE_MS, false);
    connection.closeWithGoodbye("enough");
    connection.closeWithGoodbye("again");
    wire.handler?.onData(encodeControlMessage({ type: "goodbye", reason: "too" }));
    wire.handler?.onData(new Uint8Array(100));
    connection.write(ping);
    expect(wire.said).toEqual([{ type: "goodbye", reason: "enough" }]);
    expect([frames, closes]).toEqual([[], []]);
    await environment.clock.advance(1_000);
    expect(closes).toEqual(["enough"]);
    expect(environment.clock.pendingTimers).toBe(0);
  });

  it("closes with the reason in the peer's goodbye", () => {
    const { wire, closes } = makeBench();
    wire.handler?.onData(encodeControlMessage({ type: "goodbye", reason: "wrong cluster" }));
    expect(closes).toEqual(["the other end said: wrong cluster"]);
  });

  it("reports no frame that follows a goodbye in the same chunk", () => {
    const { wire, connection, frames, closes } = makeBench();
    connection.establish(IDLE_MS, false);
    const goodbye = encodeControlMessage({ type: "goodbye", reason: "bye" });
    const welcome = encodeControlMessage({
      type: "welcome",
      version: 1,
      clusterId: "c",
      from: { id: "a", storeId: "s", info: "", address: "a:1", priority: 0 },
    });
    wire.handler?.onData(Uint8Array.from([...goodbye, ...welcome]));
    expect([frames, closes]).toEqual([[], ["the other end said: bye"]]);
  });

  it("closes when a deadline passes, with a goodbye only if the connection was established", async () => {
    const silent = makeBench();
    silent.connection.setDeadline(100, "connection");
    await silent.environment.clock.advance(100);
    expect([silent.closes, silent.wire.said]).toEqual([["no connection within 100 ms"], []]);
    const up = makeBench();
    up.connection.setDeadline(100, "connection");
    up.wire.handler?.onOpen?.();
    up.connection.setDeadline(200, "answer");
    await up.environment.clock.advance(199);
    expect(up.wire.said).toEqual([]);
    await up.environment.clock.advance(1);
    expect(up.wire.said).toEqual([{ type: "goodbye", reason: "no answer within 200 ms" }]);
  });
});
