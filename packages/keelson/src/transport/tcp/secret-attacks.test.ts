// Attacks on the Raft port of a node with a shared secret, and on its outgoing connections, by an attacker
// who doesn't know the secret and can do everything else: listen, record, replay, reflect, pass on, change.
import { inspect } from "node:util";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import type { Connection } from "../../environment/environment.ts";
import { append, TestNode } from "../../testing/suites/transport/test-node.ts";
import {
  expectUsable,
  hello,
  inquiry,
  messageBytes,
  type SimulatedRig,
  simulatedRig,
  watchQuestions,
} from "./test/rig.ts";

const SECRET = "correct-horse-battery-staple-0123456789";
const OTHER = "another-horse-battery-staple-0123456789";
const MAGIC = Uint8Array.of(0x4b, 0x4c, 0x41, 1);
const CLUSTER = "c1";
/** Everything in a handshake that a stranger doesn't know, and the secret. */
const PRIVATE = [CLUSTER, "store-b", "info of b", "b:7000", SECRET];

let attempts = 0;
afterAll(() => console.log(`${String(attempts)} attempts on Raft ports with a shared secret, all refused`));

const rigOf = (seed = 1): SimulatedRig =>
  simulatedRig(seed, { secret: SECRET, handshakeTimeoutMs: 1_000, connectTimeoutMs: 500 });

/** One end of a connection in the attacker's hands. */
class Raw {
  readonly heard: number[] = [];
  closed = false;
  readonly connection: Connection;
  onBytes: (bytes: Uint8Array) => void = () => undefined;

  constructor(connection: Connection) {
    this.connection = connection;
    connection.handler = {
      onData: (bytes) => {
        this.heard.push(...bytes);
        this.onBytes(bytes.slice());
      },
      onClose: () => (this.closed = true),
    };
  }

  static dial(rig: SimulatedRig, address = "b:7000"): Raw {
    attempts++;
    return new Raw(rig.world.network.host("evil").connect(address));
  }

  write(...pieces: Uint8Array[]): this {
    for (const piece of pieces) this.connection.write(piece);
    return this;
  }

  get text(): string {
    return Buffer.from(this.heard).toString("latin1");
  }
}

/** An address of the attacker's. `onConnect` gets each connection that comes in. */
async function trap(rig: SimulatedRig, onConnect: (raw: Raw) => void, address = "evil:7000"): Promise<void> {
  await rig.world.network.host("evil").listen(address, (connection) => {
    attempts++;
    onConnect(new Raw(connection));
  });
}

/** Passes everything on between two connections, changed by `change`. */
function passOn(from: Raw, to: Raw, change = (bytes: Uint8Array): Uint8Array => bytes): void {
  from.onBytes = (bytes) => to.write(change(bytes));
  to.onBytes = (bytes) => from.write(bytes);
}

const zeros = (count: number): Uint8Array => new Uint8Array(count);
const greeting = hello({ clusterId: CLUSTER });

interface Attempt {
  readonly name: string;
  readonly pieces: readonly Uint8Array[];
  readonly logged: string | null;
}

const ATTEMPTS: readonly Attempt[] = [
  { name: "a hello without a proof", pieces: [greeting], logged: "doesn't prove the shared secret" },
  { name: "an inquiry without a proof", pieces: [inquiry()], logged: "doesn't prove the shared secret" },
  { name: "a message", pieces: [messageBytes("a")], logged: "doesn't prove the shared secret" },
  { name: "a hello after the number", pieces: [MAGIC, zeros(32), greeting], logged: "it sent 75 proofs" },
  { name: "no proofs", pieces: [MAGIC, zeros(32), zeros(1)], logged: "it sent 0 proofs" },
  {
    name: "a guessed proof",
    pieces: [MAGIC, zeros(32), Uint8Array.of(1), zeros(32), greeting],
    logged: "it has another secret",
  },
  {
    name: "four guessed proofs",
    pieces: [MAGIC, zeros(32), Uint8Array.of(4), zeros(128), greeting],
    logged: "it has another secret",
  },
  {
    name: "five proofs",
    pieces: [MAGIC, zeros(32), Uint8Array.of(5), zeros(160)],
    logged: "it sent 5 proofs; 1 to 4",
  },
  {
    name: "a later version",
    pieces: [Uint8Array.of(0x4b, 0x4c, 0x41, 2), zeros(32)],
    logged: "proves the shared secret in another version of the protocol",
  },
  { name: "TLS", pieces: [Uint8Array.of(22, 3, 1, 2, 0, 1), zeros(100)], logged: "speaks TLS" },
  { name: "HTTP", pieces: [new TextEncoder().encode("GET / HTTP/1.1\r\n")], logged: "another protocol" },
  { name: "half a number", pieces: [MAGIC, zeros(16)], logged: null },
  { name: "half a proof", pieces: [MAGIC, zeros(32), Uint8Array.of(1), zeros(31)], logged: null },
  { name: "silence", pieces: [], logged: null },
];

describe("a node with a shared secret refuses before it reads any state", () => {
  it.each(ATTEMPTS)("$name", async ({ pieces, logged }) => {
    const rig = rigOf();
    const b = await TestNode.start(rig, "b");
    const questions = watchQuestions(b);
    const raw = Raw.dial(rig).write(...pieces);
    await rig.until(() => raw.closed, "the close");
    for (const known of PRIVATE) expect(raw.text).not.toContain(known);
    expect(raw.heard.length).toBeLessThanOrEqual(36);
    expect([b.host.events, questions]).toEqual([[], []]);
    if (logged === null) expect(b.host.logs).toEqual([]);
    else expect(b.host.logs).toEqual([expect.stringContaining(logged)]);
    await expectUsable(rig, b);
  });

  it("a node that has another secret, and tells both operators", async () => {
    const rig = rigOf();
    const b = await TestNode.start(rig, "b");
    const other = await TestNode.start(withSecret(rig, OTHER), "a");
    other.knows(b);
    attempts++;
    await rig.until(() => other.host.logs.length > 0 && b.host.logs.length > 0, "the logs");
    expect(b.host.logs[0]).toContain("it has another secret than this node");
    expect(other.host.logs[0]).toContain("no connection to b at b:7000: closed by the peer");
    expect(b.host.events).toEqual([]);
    await Promise.all([other.transport.close(), rig.world.clock.advance(2_000)]);
    await expectUsable(rig, b);
  });

  it("the replay of all that a member sent on an earlier connection", async () => {
    const rig = rigOf();
    const b = await TestNode.start(rig, "b");
    const sent: number[] = [];
    const a = await memberOverheard(rig, b, (piece) => sent.push(...piece));
    await Promise.all([a.transport.close(), rig.world.clock.advance(2_000)]);
    const before = [...b.host.events];
    expect(sent.length).toBeGreaterThan(150);
    // Whole, and with the proof taken to the new connection's number.
    const whole = Raw.dial(rig).write(Uint8Array.from(sent));
    const inSteps = Raw.dial(rig).write(Uint8Array.from(sent.slice(0, 36)));
    await rig.quiet();
    inSteps.write(Uint8Array.from(sent.slice(36)));
    await rig.until(() => whole.closed && inSteps.closed, "the closes");
    expect(b.host.events).toEqual(before);
    expect(b.host.logs.at(-1)).toContain("it has another secret");
    await expectUsable(rig, b);
  });

  it("its own proof, sent back to it", async () => {
    const rig = rigOf();
    const b = await TestNode.start(rig, "b");
    const echoes: Raw[] = [];
    await trap(rig, (from) => {
      echoes.push(from);
      // The number as it is; of the proofs without their count, the one that there is.
      from.onBytes = (bytes) => from.write(bytes.length === 33 ? bytes.subarray(1) : bytes);
    });
    b.transport.setPeers(new Map([["a", ["evil:7000"]]]));
    await rig.until(() => echoes.some(({ closed }) => closed), "the close");
    expect(b.host.logs[0]).toContain("it has another secret than this node");
    for (const known of PRIVATE) expect(echoes[0]?.text).not.toContain(known);
    expect(b.host.events).toEqual([]);
    await expectUsable(rig, b);
  });

  it.each(["b:7000", "c:7000"])("a hello for node a that is passed on to %s", async (address) => {
    const rig = rigOf();
    const b = await TestNode.start(rig, "b");
    const c = await TestNode.start(rig, "c");
    await trap(rig, (from) => {
      passOn(from, Raw.dial(rig, address));
    });
    b.transport.setPeers(new Map([["a", ["evil:7000"]]]));
    await rig.until(() => b.host.logs.length > 0, "the refusal");
    expect([b.host.events, c.host.events]).toEqual([[], []]);
    expect(b.host.logs.join()).toMatch(/this is node [bc], not a/);
    await Promise.all([c.transport.close(), rig.world.clock.advance(2_000)]);
    await expectUsable(rig, b);
  });

  it("records that were changed, left out, repeated, exchanged or put in on their way", async () => {
    expect(await piecesOfAMember()).toBeGreaterThan(4);
    // Everything from the hello, which is the third piece, on.
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom("flip", "leave out", "repeat", "exchange", "put in"),
        fc.integer({ min: 3, max: 5 }),
        fc.nat(),
        async (what, at, chance) => {
          const rig = rigOf();
          const b = await TestNode.start(rig, "b");
          let pieces = 0;
          let kept: Uint8Array | null = null;
          await trap(rig, (from) => {
            pieces = 0;
            passOn(from, Raw.dial(rig), (bytes) => {
              pieces++;
              if (pieces === at + 1 && kept !== null) return Uint8Array.from([...bytes, ...kept]);
              if (pieces !== at) return bytes;
              if (what === "flip") {
                const bit = chance % (bytes.length * 8);
                bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
              }
              if (what === "repeat") return Uint8Array.from([...bytes, ...bytes]);
              if (what === "put in") return Uint8Array.from([4, 0, 0, 0, ...zeros(20), ...bytes]);
              if (what === "exchange") kept = bytes;
              return what === "leave out" || what === "exchange" ? zeros(0) : bytes;
            });
          });
          const a = await TestNode.start(rig, "a");
          a.transport.setPeers(new Map([["b", ["evil:7000"]]]));
          const terms: number[] = [];
          for (let term = 1; term <= 30; term++) {
            a.send(b, { type: "request-vote-reply", from: "a", term, granted: false });
            await rig.world.clock.advance(20);
          }
          for (const { message } of b.host.received) if ("term" in message) terms.push(message.term);
          // A connection whose bytes were touched ends there; the next one goes on with later messages.
          expect(terms).toEqual([...new Set(terms)].sort((one, other) => one - other));
          expect(b.host.received.every(({ message }) => message.from === "a")).toBe(true);
          const isSeen = b.host.logs.some((line) => /isn't from the node|announces a record/.test(line));
          // A changed length may announce bytes that never come.
          expect(isSeen || what === "flip" || what === "leave out" || what === "exchange").toBe(true);
          await Promise.all([a.transport.close(), rig.world.clock.advance(8_000)]);
          await expectUsable(rig, b);
        },
      ),
      { numRuns: 25 },
    );
  });
});

describe("a node with a shared secret", () => {
  it("says nothing but a random number to an address whose owner can't prove it", async () => {
    const rig = rigOf();
    const answers: readonly (readonly Uint8Array[])[] = [
      [],
      [greeting],
      [MAGIC, zeros(32), zeros(32)],
      [MAGIC, zeros(32), Uint8Array.of(1), zeros(32)],
    ];
    for (const [at, answer] of answers.entries()) {
      const b = await TestNode.start(rig, "b");
      const raws: Raw[] = [];
      await trap(rig, (raw) => raws.push(raw.write(...answer)), `evil:${String(7100 + at)}`);
      const address = `evil:${String(7100 + at)}`;
      b.transport.setPeers(new Map([["a", [address]]]));
      const asked = Promise.all([
        b.transport.refusalAt?.("a", address),
        b.transport.inquireAt?.("a", address, CLUSTER),
        rig.world.clock.advance(3_000),
      ]);
      const [refusal, inquired] = await asked;
      if (answer.length === 0) expect([refusal, inquired]).toEqual([null, { type: "silence" }]);
      else
        expect([refusal, inquired]).toMatchObject([
          expect.stringMatching(/this node doesn't trust/),
          { type: "refusal" },
        ]);
      // The number; then, to somebody who speaks the protocol, the proof, which is of no use to anybody.
      for (const { heard } of raws) expect([36, 36 + 33]).toContain(heard.length);
      for (const known of PRIVATE) expect(raws.map(({ text }) => text).join()).not.toContain(known);
      expect(b.host.events).toEqual([]);
      await Promise.all([b.transport.close(), rig.world.clock.advance(2_000)]);
    }
  });

  it("lets a member in while strangers hold every place, and come again [B22]", async () => {
    const rig = simulatedRig(1, { secret: SECRET, pendingHandshakesMax: 8, pendingHandshakesPerHostMax: 4 });
    const b = await TestNode.start(rig, "b");
    const strangers = Array.from({ length: 40 }, (_, at) => {
      attempts++;
      const host = rig.world.network.host(`stranger${String(at % 5)}`);
      return new Raw(host.connect("b:7000")).write(MAGIC, zeros(at % 33));
    });
    await rig.quiet();
    expect(strangers.filter(({ closed }) => !closed)).toHaveLength(8);
    await expectUsable(rig, b);
  });

  it("doesn't let strangers push a member out that has proved the secret and waits for its answer", async () => {
    const rig = simulatedRig(1, { secret: SECRET, pendingHandshakesMax: 8, pendingHandshakesPerHostMax: 4 });
    const b = await TestNode.start(rig, "b", null);
    let join: () => void = () => undefined;
    b.host.adoption = new Promise((resolve) => (join = resolve));
    const a = await TestNode.start(rig, "a");
    a.knows(b);
    await rig.until(() => b.host.adoptions === 1, "the hello of the member");
    for (let n = 0; n < 40; n++) {
      attempts++;
      new Raw(rig.world.network.host(`stranger${String(n % 5)}`).connect("b:7000"));
    }
    await rig.quiet();
    join();
    await rig.quiet();
    expect(b.host.events).toEqual(["adopted", "met a"]);
    expect(a.host.logs.filter((line) => line.startsWith("warn"))).toEqual([]);
    await Promise.all([a.transport.close(), b.transport.close(), rig.world.clock.advance(6_000)]);
  });

  it("goes on during a replacement: old and new, both, then the new one alone", async () => {
    const rig = rigOf();
    const steps: readonly (readonly string[])[] = [[SECRET], [SECRET, OTHER], [OTHER, SECRET], [OTHER]];
    for (const [at, secrets] of steps.entries()) {
      for (const others of [secrets, steps[at + 1] ?? secrets]) {
        const one = await TestNode.start(withSecret(rig, secrets), "a");
        const other = await TestNode.start(withSecret(rig, others), "b");
        one.knows(other);
        other.knows(one);
        await one.reaches(rig, other);
        await other.reaches(rig, one);
        const closing = Promise.all([one.transport.close(), other.transport.close()]);
        await rig.world.clock.advance(2_000);
        await closing;
      }
    }
  });

  it("carries a record of 3 MiB, and gives it unchanged", async () => {
    const rig = rigOf();
    const a = await TestNode.start(rig, "a");
    const b = await TestNode.start(rig, "b");
    a.knows(b);
    await a.reaches(rig, b);
    const payload = Uint8Array.from({ length: 3 * 1024 * 1024 }, (_, at) => (at * 31) & 0xff);
    const { message, records } = append("a", [payload]);
    expect(a.send(b, message, records)).toBe(true);
    await rig.until(() => b.host.received.length > 0, "the message");
    expect(Buffer.compare(b.host.received[0]?.records[0] ?? zeros(0), records[0] ?? zeros(1))).toBe(0);
    await Promise.all([a.transport.close(), b.transport.close(), rig.world.clock.advance(2_000)]);
  });

  it("never shows the secret: not on the wire, in logs, in errors, or when it is printed", async () => {
    const rig = rigOf();
    const wire: number[] = [];
    const b = await TestNode.start(rig, "b");
    const a = await memberOverheard(rig, b, (piece) => wire.push(...piece));
    const shown = [
      Buffer.from(wire).toString("latin1"),
      ...a.host.logs,
      ...b.host.logs,
      inspect(a.transport, { depth: 20, showHidden: true }),
    ].join("\n");
    expect(shown).not.toContain(SECRET);
    expect(shown).not.toContain(SECRET.slice(8, 24));
    await Promise.all([a.transport.close(), b.transport.close(), rig.world.clock.advance(2_000)]);
  });
});

/** A member, node a, that reaches b through the attacker, who notes each piece that it sends. */
async function memberOverheard(
  rig: SimulatedRig,
  b: TestNode,
  note: (piece: Uint8Array) => void,
): Promise<TestNode> {
  await trap(rig, (from) => {
    passOn(from, Raw.dial(rig), (bytes) => {
      note(bytes);
      return bytes;
    });
  });
  const a = await TestNode.start(rig, "a");
  a.transport.setPeers(new Map([["b", ["evil:7000"]]]));
  await a.reaches(rig, b);
  return a;
}

/** How many pieces a member writes on a connection to b: number, proofs, hello, and messages. */
async function piecesOfAMember(): Promise<number> {
  const rig = rigOf();
  const b = await TestNode.start(rig, "b");
  let pieces = 0;
  const a = await memberOverheard(rig, b, () => pieces++);
  for (let n = 0; n < 4; n++) {
    a.send(b);
    await rig.quiet();
  }
  await Promise.all([a.transport.close(), b.transport.close(), rig.world.clock.advance(2_000)]);
  return pieces;
}

/** The rig, with another secret for the transports that it makes. */
function withSecret(rig: SimulatedRig, secret: string | readonly string[]): SimulatedRig {
  return { ...rig, transport: simulatedRig(1, { secret }).transport };
}
