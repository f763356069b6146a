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

/** A connection whose other end does as the test says. */
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
    // Nothing comes unless the test says so.
  }
  resume(): void {
    // The same.
  }
  destroy(reason = ""): void {
    if (this.destroyed !== null) return;
    this.destroyed = reason;
    this.handler?.onClose(reason);
  }
}

interface Bench {
  readonly wire: Wire;
  readonly channel: FramedConnection;
  readonly environment: SimulatedEnvironment;
  readonly frames: Frame[];
  readonly closes: string[];
}

function makeBench(environment = simulatedEnvironment()): Bench {
  const wire = new Wire();
  const frames: Frame[] = [];
  const closes: string[] = [];
  const channel = new FramedConnection(wire, environment, {
    onFrame: (frame) => frames.push(frame),
    onClosed: (reason) => closes.push(reason),
  });
  return { wire, channel, environment, frames, closes };
}

const ping = encodeControlMessage({ type: "ping" });
const pong = encodeControlMessage({ type: "pong" });

describe("Channel", () => {
  it("closes when nothing is heard for the idle limit, and not before", async () => {
    const { wire, channel, environment, closes } = makeBench();
    channel.establish(IDLE_MS, true);
    await environment.clock.advance(IDLE_MS - 1);
    expect(closes).toEqual([]);
    await environment.clock.advance(1);
    expect(closes).toEqual(["nothing heard for 4000 ms"]);
    expect(wire.said.filter(({ type }) => type === "ping")).toHaveLength(3);
    expect(environment.clock.pendingTimers).toBe(0);
  });

  it("stays as long as anything is heard, and answers pings", async () => {
    const { wire, channel, environment, frames, closes } = makeBench();
    channel.establish(IDLE_MS, false);
    for (let n = 0; n < 20; n++) {
      await environment.clock.advance(IDLE_MS - 10);
      wire.handler?.onData(n % 2 === 0 ? ping : pong);
    }
    expect([closes, frames]).toEqual([[], []]);
    expect(wire.said).toEqual(Array.from({ length: 10 }, () => ({ type: "pong" })));
  });

  it("takes a full pipe that moves for a sign of life, though no answer comes", async () => {
    const { wire, channel, environment, closes } = makeBench();
    channel.establish(IDLE_MS, true);
    wire.bufferedBytes = 10_000_000;
    for (let n = 0; n < 20; n++) {
      await environment.clock.advance(1_000);
      wire.bufferedBytes -= 100_000;
    }
    expect(closes).toEqual([]);
    // Stuck now: the system's buffers are full, and nobody empties them.
    await environment.clock.advance(IDLE_MS + 1_000);
    expect(closes).toEqual(["nothing heard for 4000 ms"]);
  });

  it("takes a pipe that is not full for no sign of anything", async () => {
    const { channel, environment, closes } = makeBench();
    channel.establish(IDLE_MS, true);
    for (let n = 0; n < 50; n++) {
      channel.write(ping.slice());
      await environment.clock.advance(100);
    }
    expect(closes).toHaveLength(1);
  });

  it("does not blame the peer for the time that this process slept", async () => {
    const environment = simulatedEnvironment();
    let slept = 0;
    const sleepy = { ...environment, now: () => environment.now() + slept };
    const { wire, channel, closes } = makeBench(sleepy);
    channel.establish(IDLE_MS, true);
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

  it("says goodbye, hears nothing more, and closes when its words had time to arrive", async () => {
    const { wire, channel, environment, frames, closes } = makeBench();
    channel.establish(IDLE_MS, false);
    channel.closeWithGoodbye("enough");
    channel.closeWithGoodbye("again");
    wire.handler?.onData(encodeControlMessage({ type: "goodbye", reason: "too" }));
    wire.handler?.onData(new Uint8Array(100));
    channel.write(ping);
    expect(wire.said).toEqual([{ type: "goodbye", reason: "enough" }]);
    expect([frames, closes]).toEqual([[], []]);
    await environment.clock.advance(1_000);
    expect(closes).toEqual(["enough"]);
    expect(environment.clock.pendingTimers).toBe(0);
  });

  it("closes with the reason that the other end gave", () => {
    const { wire, closes } = makeBench();
    wire.handler?.onData(encodeControlMessage({ type: "goodbye", reason: "wrong cluster" }));
    expect(closes).toEqual(["the other end said: wrong cluster"]);
  });

  it("hands over no frame that came in one chunk with the one that closed it", () => {
    const { wire, channel, frames, closes } = makeBench();
    channel.establish(IDLE_MS, false);
    const goodbye = encodeControlMessage({ type: "goodbye", reason: "bye" });
    const welcome = encodeControlMessage({
      type: "welcome",
      version: 1,
      clusterId: "c",
      from: { id: "a", storeId: "s", data: "", address: "a:1", priority: 0 },
    });
    wire.handler?.onData(Uint8Array.from([...goodbye, ...welcome]));
    expect([frames, closes]).toEqual([[], ["the other end said: bye"]]);
  });

  it("gives up what is expected and does not come: silently before anything was up", async () => {
    const silent = makeBench();
    silent.channel.setDeadline(100, "connection");
    await silent.environment.clock.advance(100);
    expect([silent.closes, silent.wire.said]).toEqual([["no connection within 100 ms"], []]);
    const up = makeBench();
    up.channel.setDeadline(100, "connection");
    up.wire.handler?.onOpen?.();
    up.channel.setDeadline(200, "answer");
    await up.environment.clock.advance(199);
    expect(up.wire.said).toEqual([]);
    await up.environment.clock.advance(1);
    expect(up.wire.said).toEqual([{ type: "goodbye", reason: "no answer within 200 ms" }]);
  });
});
