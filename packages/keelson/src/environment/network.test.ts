import { describe, expect, it } from "vitest";
import type { Connection, ConnectionHandler, Listener, Network } from "./environment.ts";
import { SimulatedClock, seededRandom } from "./simulated/simulated-clock.ts";
import { SimulatedNetwork } from "./simulated/simulated-network.ts";
import { nodeNetwork } from "./node/node-network.ts";
import { TestAuthority } from "./test/certificates.ts";
import { SecretConnection } from "../transport/tcp/secret-connection.ts";

/** A network to test, and how to wait for something on it. */
interface Bench {
  readonly server: Network;
  readonly client: Network;
  readonly listenAddress: string;
  /** Whether the two ends exchange something before `onOpen`. */
  readonly hasHandshake?: boolean;
  until(condition: () => boolean): Promise<void>;
}

const benches: Record<string, () => Bench> = {
  "nodeNetwork on loopback": loopbackBench,
  "nodeNetwork with TLS": () => {
    const authority = new TestAuthority();
    const under = (id: string): Network => {
      const network = nodeNetwork().withTls?.({ ...authority.node(id), ca: authority.cert });
      if (network === undefined) throw new Error("no TLS");
      return network;
    };
    return { ...loopbackBench(), server: under("s"), client: under("c"), hasHandshake: true };
  },
  "SimulatedNetwork with a shared secret": () => {
    const { bench } = simulatedBench(1);
    return { ...bench, server: proven(bench.server), client: proven(bench.client), hasHandshake: true };
  },
  "nodeNetwork with a shared secret": () => {
    const bench = loopbackBench();
    return { ...bench, server: proven(bench.server), client: proven(bench.client), hasHandshake: true };
  },
  SimulatedNetwork: () => simulatedBench(1).bench,
};

/** A network whose connections are proved by a secret before they are used. */
function proven(network: Network): Network {
  const secrets = [new Uint8Array(32).fill(7)];
  const wrap = (connection: Connection, isDialer: boolean): Connection =>
    new SecretConnection(connection, secrets, isDialer, new Uint8Array(32).fill(isDialer ? 1 : 2));
  return {
    listen: (address, accept) =>
      network.listen(address, (connection) => {
        accept(wrap(connection, false));
      }),
    connect: (address) => wrap(network.connect(address), true),
  };
}

function loopbackBench(): Bench {
  return {
    server: nodeNetwork(),
    client: nodeNetwork(),
    listenAddress: "127.0.0.1:0",
    until: async (condition) => {
      const limit = performance.now() + 5_000;
      while (!condition()) {
        if (performance.now() > limit) throw new Error("waited for 5 s");
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    },
  };
}

function simulatedBench(seed: number): { bench: Bench; network: SimulatedNetwork; clock: SimulatedClock } {
  const clock = new SimulatedClock();
  const network = new SimulatedNetwork(clock, seededRandom(seed));
  const bench: Bench = {
    server: network.host("s"),
    client: network.host("c"),
    listenAddress: "s:0",
    until: (condition) => clock.runUntil(condition, 60_000),
  };
  return { bench, network, clock };
}

/** Records what a connection reports to its owner. */
class Recorder implements ConnectionHandler {
  readonly events: string[] = [];
  readonly bytes: number[] = [];
  readonly connection: Connection;
  constructor(connection: Connection) {
    this.connection = connection;
    connection.handler = this;
  }
  onOpen(): void {
    this.events.push("open");
  }
  onData(bytes: Uint8Array): void {
    this.bytes.push(...bytes);
  }
  onDrain(): void {
    this.events.push("drain");
  }
  onClose(reason: string): void {
    this.events.push(`close: ${reason}`);
  }
  get closed(): boolean {
    return this.events.some((event) => event.startsWith("close"));
  }
}

interface Pair {
  readonly listener: Listener;
  readonly dialed: Recorder;
  readonly accepted: Recorder;
}

async function pairOf(bench: Bench): Promise<Pair> {
  const accepted: Recorder[] = [];
  const listener = await bench.server.listen(bench.listenAddress, (connection) => {
    accepted.push(new Recorder(connection));
  });
  const dialed = new Recorder(bench.client.connect(listener.address));
  await bench.until(() => accepted.length > 0 && dialed.events.includes("open"));
  const [first] = accepted;
  if (first === undefined) throw new Error("accepted");
  if (bench.hasHandshake === true) {
    // The accepting end of a handshake isn't told when that is complete: it waits for the first bytes.
    dialed.connection.write(Uint8Array.of(1));
    await bench.until(() => first.bytes.length > 0);
    first.connection.write(Uint8Array.of(2));
    await bench.until(() => dialed.bytes.length > 0);
    first.bytes.length = 0;
    dialed.bytes.length = 0;
  }
  return { listener, dialed, accepted: first };
}

describe.each(Object.entries(benches))("%s", (_name, makeBench) => {
  it("carries bytes both ways, in order and without gaps", async () => {
    const bench = makeBench();
    const { listener, dialed, accepted } = await pairOf(bench);
    const expected: number[] = [];
    for (let n = 0; n < 200; n++) {
      const chunk = Uint8Array.from({ length: n % 7 }, (_, at) => (n + at) & 0xff);
      expected.push(...chunk);
      dialed.connection.write(chunk);
      accepted.connection.write(chunk.slice());
    }
    await bench.until(
      () => accepted.bytes.length === expected.length && dialed.bytes.length === expected.length,
    );
    expect(accepted.bytes).toEqual(expected);
    expect(dialed.bytes).toEqual(expected);
    dialed.connection.destroy();
    await bench.until(() => dialed.closed && accepted.closed);
    await listener.close();
  });

  it("reports a close once at both ends, with the given reason at the end that closed", async () => {
    const bench = makeBench();
    const { listener, dialed, accepted } = await pairOf(bench);
    dialed.connection.destroy("enough");
    dialed.connection.destroy("again");
    expect(dialed.closed).toBe(false);
    await bench.until(() => dialed.closed && accepted.closed);
    dialed.connection.write(new Uint8Array(1));
    expect(dialed.events.filter((event) => event.startsWith("close"))).toEqual(["close: enough"]);
    expect(accepted.events.filter((event) => event.startsWith("close"))).toEqual([
      "close: closed by the peer",
    ]);
    await listener.close();
  });

  it("reports a refused connection as a close", async () => {
    const bench = makeBench();
    const { listener, dialed, accepted } = await pairOf(bench);
    dialed.connection.destroy();
    await listener.close();
    await bench.until(() => accepted.closed && dialed.closed);
    const late = new Recorder(bench.client.connect(listener.address));
    await bench.until(() => late.closed);
    expect(late.events).toHaveLength(1);
    expect(late.events[0]).toContain("ECONNREFUSED");
  });

  it("rejects listening at an address that is in use", async () => {
    const bench = makeBench();
    const { listener, dialed } = await pairOf(bench);
    await expect(bench.server.listen(listener.address, () => undefined)).rejects.toThrow("EADDRINUSE");
    dialed.connection.destroy();
    await listener.close();
  });

  it("delivers nothing while paused, counts buffered bytes, and reports when they are gone", async () => {
    const bench = makeBench();
    const { listener, dialed, accepted } = await pairOf(bench);
    accepted.connection.pause();
    const total = 32 * 1024 * 1024;
    let received = 0;
    accepted.onData = (bytes) => (received += bytes.length);
    for (let sent = 0; sent < total; sent += 1024 * 1024)
      dialed.connection.write(new Uint8Array(1024 * 1024));
    await bench.until(() => dialed.connection.bufferedBytes > 0);
    const before = received;
    await bench.until(() => true);
    expect(received).toBe(before);
    expect(dialed.connection.bufferedBytes).toBeGreaterThan(8 * 1024 * 1024);
    dialed.events.length = 0;
    accepted.connection.resume();
    await bench.until(() => received === total && dialed.events.length > 0);
    expect(dialed.events).toContain("drain");
    expect(dialed.connection.bufferedBytes).toBe(0);
    dialed.connection.destroy();
    await bench.until(() => accepted.closed && dialed.closed);
    await listener.close();
  });
});

describe("nodeNetwork", () => {
  it("reports a malformed address as a close instead of throwing", async () => {
    const bad = new Recorder(nodeNetwork().connect("no-port"));
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(bad.events).toHaveLength(1);
    expect(bad.events[0]).toContain("no-port");
  });
});

describe("SimulatedNetwork", () => {
  it("delays each direction separately", async () => {
    const { bench, network, clock } = simulatedBench(1);
    const { dialed, accepted } = await pairOf(bench);
    network.setLink("c", "s", { delayMinMs: 30, delayMaxMs: 30 });
    dialed.connection.write(Uint8Array.of(1));
    accepted.connection.write(Uint8Array.of(2));
    await clock.advance(10);
    dialed.connection.write(Uint8Array.of(3));
    expect(dialed.bytes).toEqual([2]);
    await clock.advance(19);
    expect(accepted.bytes).toEqual([]);
    await clock.advance(1);
    expect(accepted.bytes).toEqual([1]);
    await clock.advance(10);
    expect(accepted.bytes).toEqual([1, 3]);
  });

  it("holds bytes back during a cut, without telling either end, and delivers them in order after it heals", async () => {
    const { bench, network, clock } = simulatedBench(1);
    const { dialed, accepted } = await pairOf(bench);
    network.cut("c", "s");
    dialed.connection.write(Uint8Array.of(1, 2));
    dialed.connection.write(Uint8Array.of(3));
    await clock.advance(10_000);
    expect([...accepted.bytes, ...accepted.events, ...dialed.events]).toEqual(["open"]);
    network.heal("c", "s");
    await clock.advance(1);
    expect(accepted.bytes).toEqual([1, 2, 3]);
  });

  it("leaves a connection that one end closed during a cut open at the other end", async () => {
    const { bench, network, clock } = simulatedBench(1);
    const { dialed, accepted } = await pairOf(bench);
    network.cut("c", "s");
    dialed.connection.destroy();
    await clock.advance(10_000);
    expect([dialed.closed, accepted.closed]).toEqual([true, false]);
    network.heal("c", "s");
    await clock.advance(1);
    expect(accepted.closed).toBe(true);
    expect(network.openStreams).toBe(0);
  });

  it("never delivers a connection that was closed before its request arrived", async () => {
    const { bench, network, clock } = simulatedBench(1);
    const accepted: Connection[] = [];
    await bench.server.listen("s:1", (connection) => accepted.push(connection));
    network.cut("c", "s");
    const dialed = new Recorder(bench.client.connect("s:1"));
    await clock.advance(5);
    dialed.connection.destroy();
    network.heal("c", "s");
    await clock.advance(5);
    expect(accepted).toEqual([]);
    expect(network.openStreams).toBe(0);
  });

  it("refuses a connection whose request arrives after the host crashed", async () => {
    const { bench, network, clock } = simulatedBench(1);
    await bench.server.listen("s:1", () => undefined);
    network.setLink("c", "s", { delayMinMs: 10, delayMaxMs: 10 });
    const dialed = new Recorder(bench.client.connect("s:1"));
    await clock.advance(5);
    network.crash("s");
    await clock.advance(4);
    expect(dialed.events).toEqual([]);
    await clock.advance(1);
    expect(dialed.events).toEqual(["close: connect ECONNREFUSED s:1"]);
  });

  it("splits deliveries at any place, without losing a byte", async () => {
    const { bench, network, clock } = simulatedBench(5);
    const { dialed, accepted } = await pairOf(bench);
    network.setEveryLink({ splitProbability: 0.9 });
    let deliveries = 0;
    const bytes: number[] = [];
    accepted.onData = (piece) => {
      deliveries++;
      bytes.push(...piece);
    };
    const sent = Uint8Array.from({ length: 500 }, (_, n) => n & 0xff);
    dialed.connection.write(sent);
    await clock.advance(1);
    expect(bytes).toEqual([...sent]);
    expect(deliveries).toBeGreaterThan(4);
  });

  it("closes connections at both ends on a reset, and only at the other end when a host crashes", async () => {
    const { bench, network, clock } = simulatedBench(1);
    const first = await pairOf(bench);
    network.reset("s", "c");
    await clock.advance(1);
    expect([first.dialed.events.at(-1), first.accepted.events.at(-1)]).toEqual([
      "close: connection reset",
      "close: connection reset",
    ]);
    const second = await pairOf(bench);
    network.crash("s");
    await clock.advance(1);
    expect([second.dialed.closed, second.accepted.closed]).toEqual([true, false]);
    expect(network.openStreams).toBe(0);
    const late = new Recorder(bench.client.connect(second.listener.address));
    await clock.advance(1);
    expect(late.events[0]).toContain("ECONNREFUSED");
  });
});
