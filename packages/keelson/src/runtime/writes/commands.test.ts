// Commands and results between their caller and the state machine: encoded, validated, and the same on every
// node.
import { assert, describe, expect, it } from "vitest";
import { CommandInvalidError, CommandRejectedError, Rejection, type RaftError } from "../../errors.ts";
import type { Raft } from "../raft.ts";
import {
  StateMachineFailure,
  type SchemaResult,
  type StandardSchema,
  type StateMachine,
  type StateMachineCodec,
} from "../shared/index.ts";
import { TestCluster, type TestNode, type TestOptions } from "../test/test-cluster.ts";

interface Deposit {
  readonly to: string;
  readonly amount: number;
  readonly note?: string | undefined;
}

interface Balance {
  readonly name: string;
  readonly amount: number;
}

/** Keeps balances, without a codec. `seen`: what `apply` was given. */
class Bank implements StateMachine<Deposit, Balance> {
  readonly seen: Deposit[] = [];
  readonly #balances = new Map<string, Balance>();

  open(): { term: number; index: number } {
    return { term: 0, index: 0 };
  }

  apply(deposit: Deposit): Balance {
    this.seen.push(deposit);
    const { to: name, amount } = deposit;
    const balance = { name, amount: (this.#balances.get(name)?.amount ?? 0) + amount };
    this.#balances.set(name, balance);
    return balance;
  }
}

/** Three nodes with the option `forward`, and their state machines. */
interface Group<Machine extends StateMachine<Command, Result>, Command, Result> {
  readonly cluster: TestCluster;
  readonly leader: Raft<Command, Result>;
  /** A follower. */
  readonly other: Raft<Command, Result>;
  readonly leaderNode: TestNode;
  readonly machines: readonly Machine[];
}

async function groupOf<Command, Result, Machine extends StateMachine<Command, Result>>(
  make: () => Machine & StateMachine<Command, Result>,
  options: TestOptions = {},
): Promise<Group<Machine, Command, Result>> {
  const cluster = new TestCluster(1, { forward: true, ...options });
  const machines: Machine[] = [];
  for (const id of ["a", "b", "c"]) {
    const machine = make();
    machines.push(machine);
    // The test cluster's own state machines have commands of another type.
    await cluster.open(id, { stateMachine: machine as unknown as StateMachine<string, number> });
  }
  await cluster.finish(cluster.raft("a").initialize(cluster.members()));
  const leaderNode = await cluster.leader();
  await cluster.advance(200);
  const [other] = cluster.followers(leaderNode);
  if (other === undefined) throw new Error("no follower");
  const typed = (raft: unknown): Raft<Command, Result> => raft as Raft<Command, Result>;
  return { cluster, leader: typed(leaderNode.raft), other: typed(other.raft), leaderNode, machines };
}

function machineOf<Command, Result>(
  apply: (command: Command) => Result,
  rest: Partial<StateMachine<Command, Result>> = {},
): StateMachine<Command, Result> {
  return { open: () => ({ term: 0, index: 0 }), apply, ...rest };
}

describe("a command of a state machine without a codec", () => {
  it("is applied as the same value on every node, and its result is the same for every caller", async () => {
    const { cluster, leader, other, machines } = await groupOf(() => new Bank());
    const deposit = { to: "alice", amount: -0, note: undefined };
    expect(await cluster.finish(leader.write(deposit))).toStrictEqual({ name: "alice", amount: 0 });
    expect(await cluster.finish(other.write({ to: "alice", amount: 2 }))).toStrictEqual({
      name: "alice",
      amount: 2,
    });
    await cluster.advance(200);
    for (const { seen } of machines) {
      expect(seen).toStrictEqual([
        { to: "alice", amount: -0 },
        { to: "alice", amount: 2 },
      ]);
    }
  });

  it("may be changed by its caller right after the call", async () => {
    const { cluster, leader, other, machines } = await groupOf(() => new Bank());
    for (const raft of [leader, other]) {
      const deposit = { to: "alice", amount: 1 };
      const writing = raft.write(deposit);
      deposit.amount = 1000;
      await cluster.finish(writing);
    }
    await cluster.advance(200);
    for (const { seen } of machines) expect(seen.map(({ amount }) => amount)).toEqual([1, 1]);
  });

  it("is sent unchanged with each attempt in a session, though its caller changes it meanwhile", async () => {
    const { cluster, leader, machines } = await groupOf(() => new Bank(), { forward: false });
    const session = await cluster.finish(leader.openSession());
    const { id } = leader.metrics();
    cluster.isolate(id);
    const deposit = { to: "alice", amount: 1 };
    const writing = session.write(deposit, { timeoutMs: 19_000 });
    writing.catch(() => undefined);
    deposit.amount = 1000;
    await cluster.until(() => leader.metrics().role !== "leader", "the leader to step down");
    await cluster.leader(id);
    cluster.net.heal();
    await cluster.until(() => leader.metrics().leader !== null, "the next leader to be known");
    await cluster.finish(cluster.node(leader.metrics().leader?.id ?? "").raft.transferLeadership(id));
    expect(await cluster.finish(writing)).toEqual({ name: "alice", amount: 1 });
    expect(machines.flatMap(({ seen }) => seen).every(({ amount }) => amount === 1)).toBe(true);
  });

  it("is refused on the node that is called, if JSON can't hold it, before anything is proposed", async () => {
    const { cluster, leader, other, machines } = await groupOf(() => new Bank());
    const { lastIndex } = leader.metrics();
    const session = await cluster.finish(leader.openSession());
    for (const writer of [leader, other, session]) {
      const error = await cluster.failure(writer.write({ to: "alice", amount: NaN }));
      expect(error).toMatchObject({
        code: "COMMAND_INVALID",
        outcome: "not-done",
        message: "the command is invalid: command.amount: JSON has no NaN",
      });
    }
    await cluster.advance(200);
    expect(leader.metrics().lastIndex).toBe(lastIndex + 1);
    expect(machines.map(({ seen }) => seen)).toEqual([[], [], []]);
  });

  it("appears in committed() as it was applied", async () => {
    const { cluster, other } = await groupOf(() => new Bank());
    await cluster.finish(other.write({ to: "alice", amount: 1 }));
    const { value } = (await cluster.finish(other.committed().next())) as { value: unknown };
    expect(value).toMatchObject({ command: { to: "alice", amount: 1 } });
  });
});

function shapeOf({ name, code, outcome, message }: RaftError): unknown {
  return { name, code, outcome, message };
}

describe("a result", () => {
  it("may be absent, on the leader, on other nodes, and for a retry", async () => {
    const { cluster, leader, other } = await groupOf(() => machineOf<number, unknown>(() => undefined));
    const session = await cluster.finish(other.openSession());
    for (const raft of [leader, other]) {
      expect(await cluster.finish(raft.write(1))).toBeUndefined();
      const options = { session: { id: session.id, sequence: 7, lowestUnanswered: 1 } };
      expect(await cluster.finish(raft.write(1, options))).toBeUndefined();
    }
    expect(await cluster.finish(session.write(1))).toBeUndefined();
  });

  it.each<[string, () => unknown, Partial<StateMachine<number, unknown>>]>([
    ["JSON can't hold it", () => new Map(), {}],
    [
      "encodeResult throws",
      () => 1,
      {
        codec: {
          ...{ encode: (command: number) => Uint8Array.of(command), decode: ([command = 0]) => command },
          encodeResult: () => {
            throw new RangeError("no bytes for this");
          },
          decodeResult: () => 1,
        } satisfies StateMachineCodec<number, unknown>,
      },
    ],
  ])(
    "ends the call with the same error on every node, and stops none, if %s (Z12)",
    async (_what, apply, rest) => {
      const { cluster, leader, other } = await groupOf(() => machineOf<number, unknown>(apply, rest));
      const here = await cluster.failure(leader.write(1));
      expect(here).toMatchObject({
        code: "RESULT_UNAVAILABLE",
        outcome: "done",
        name: "ResultUnavailableError",
      });
      expect(here.message).toMatch(
        /the command took effect, and its result could not be encoded: .*(no Map|no bytes)/,
      );
      const there = await cluster.failure(other.write(1));
      expect(shapeOf(there)).toEqual(shapeOf(here));
      const session = await cluster.finish(other.openSession());
      expect(await cluster.failure(session.write(1))).toMatchObject({
        code: "RESULT_UNAVAILABLE",
        outcome: "done",
      });
      for (const raft of [leader, other]) expect(raft.metrics().role).not.toBe("stopped");
      expect(leader.metrics().appliedIndex).toBe(leader.metrics().lastIndex);
    },
  );

  it("is what apply returned for this command, though later commands of the batch change the state", async () => {
    const { cluster, leader } = await groupOf(() => {
      const list: number[] = [];
      return machineOf((command: number) => {
        list.push(command);
        return list;
      });
    });
    const session = await cluster.finish(leader.openSession());
    const writing = [leader.write(1), leader.write(2), session.write(3), session.write(4)];
    const results = await cluster.finish(Promise.all(writing));
    expect(results).toEqual([[1], [1, 2], [1, 2, 3], [1, 2, 3, 4]]);
  });

  it("can be changed by its caller on the leader without a change of the state", async () => {
    const { cluster, leader, other } = await groupOf(() => {
      const list: number[] = [];
      return machineOf((command: number) => {
        list.push(command);
        return list;
      });
    });
    const session = await cluster.finish(leader.openSession());
    (await cluster.finish(leader.write(1))).push(1000);
    (await cluster.finish(session.write(2))).push(1000);
    expect(await cluster.finish(other.write(3))).toEqual([1, 2, 3]);
  });

  it("has the same shape for a caller on the leader and on another node, with a codec of one's own", async () => {
    /** `decodeResult` leaves `isHere` out. */
    interface Answer {
      readonly value: number;
      readonly isHere?: boolean;
    }
    const codec: StateMachineCodec<number, Answer> = {
      encode: (command) => Uint8Array.of(command),
      decode: ([command = 0]) => command,
      encodeResult: ({ value }) => Uint8Array.of(value),
      decodeResult: ([value = 0]) => ({ value }),
    };
    const { cluster, leader, other } = await groupOf(() =>
      machineOf((command: number): Answer => ({ value: command, isHere: true }), { codec }),
    );
    for (const raft of [leader, other])
      expect(await cluster.finish(raft.write(5))).toStrictEqual({ value: 5 });
  });

  it("is what apply returned, if the codec has no methods for results", async () => {
    const answer = new Map([["a", 1]]);
    const codec = {
      encode: (command: number) => Uint8Array.of(command),
      decode: ([command = 0]: Uint8Array) => command,
    };
    const { cluster, leader } = await groupOf(() => machineOf((_command: number) => answer, { codec }), {
      forward: false,
    });
    expect(await cluster.finish(leader.write(5))).toBe(answer);
  });

  it("stops the node, if encodeResult throws a StateMachineFailure", async () => {
    const codec: StateMachineCodec<number, number> = {
      encode: (command) => Uint8Array.of(command),
      decode: ([command = 0]) => command,
      encodeResult: () => {
        throw new StateMachineFailure("the disk broke");
      },
      decodeResult: () => 1,
    };
    const { cluster, leader } = await groupOf(() => machineOf((command: number) => command, { codec }));
    expect(await cluster.failure(leader.write(1))).toMatchObject({
      code: "STATE_MACHINE_FAILED",
      outcome: "unknown",
    });
  });
});

describe("a rejection", () => {
  class InsufficientFunds extends Error {
    override readonly name = "InsufficientFunds";
    readonly code = "INSUFFICIENT_FUNDS";
    readonly balance = 5;
  }

  it("has the same shape for every caller: on the leader, on another node, and for each attempt in a session", async () => {
    const { cluster, leader, other } = await groupOf(() =>
      machineOf<number, number>(() => {
        throw new InsufficientFunds("5 is too little");
      }),
    );
    const { id } = await cluster.finish(other.openSession());
    const numbered = { session: { id, sequence: 1, lowestUnanswered: 1 } };
    const calls = [
      () => leader.write(1),
      () => other.write(1),
      () => leader.write(1, numbered),
      () => other.write(1, numbered),
      () => leader.write(1, numbered),
    ];
    for (const call of calls) {
      const error = await cluster.failure(call());
      assert(error instanceof CommandRejectedError);
      expect(shapeOf(error)).toEqual({
        name: "CommandRejectedError",
        code: "COMMAND_REJECTED",
        outcome: "done",
        message: "the state machine rejected the command: 5 is too little",
      });
      const { cause } = error;
      assert(cause instanceof Rejection);
      expect(cause.constructor).toBe(Rejection);
      expect([cause.name, cause.message, cause.code]).toEqual([
        "InsufficientFunds",
        "5 is too little",
        "INSUFFICIENT_FUNDS",
      ]);
      expect(Object.keys(cause)).not.toContain("balance");
    }
  });
});

describe("a command whose bytes can't be decoded", () => {
  /** Encodes -1, and can't decode it. */
  const codec: StateMachineCodec<number, number> = {
    encode: (command) => Uint8Array.of(command),
    decode: ([command = 0]) => {
      if (command === 255) throw new RangeError("there is no 255");
      return command;
    },
    encodeResult: (result) => Uint8Array.of(result),
    decodeResult: ([result = 0]) => result,
  };

  it("is refused before it is proposed, so that it stops no node (Z12)", async () => {
    const { cluster, leader, other } = await groupOf(() =>
      machineOf((command: number) => command, { codec }),
    );
    const { lastIndex } = leader.metrics();
    for (const raft of [leader, other]) {
      expect(await cluster.failure(raft.write(-1))).toMatchObject({
        code: "COMMAND_INVALID",
        outcome: "not-done",
        message: "the command is invalid: its bytes can't be decoded: there is no 255",
        cause: { message: "there is no 255" },
      });
    }
    expect(await cluster.finish(other.write(2))).toBe(2);
    expect(leader.metrics().lastIndex).toBe(lastIndex + 1);
  });

  it("is refused by the leader, if another node forwards it (Z12)", async () => {
    const lenient = { ...codec, decode: ([command = 0]: Uint8Array) => command };
    let isStrict = true;
    const { cluster, leader, other, leaderNode } = await groupOf(() =>
      machineOf((command: number) => command, {
        codec: { ...codec, decode: (bytes) => (isStrict ? codec : lenient).decode(bytes) },
      }),
    );
    const { lastIndex } = leader.metrics();
    isStrict = false;
    const writing = other.write(-1);
    isStrict = true;
    expect(await cluster.failure(writing)).toMatchObject({
      code: "COMMAND_INVALID",
      outcome: "not-done",
      message: "the command is invalid: at the leader: its bytes can't be decoded: there is no 255",
    });
    expect(leaderNode.raft.metrics()).toMatchObject({ role: "leader", lastIndex });
  });
});

/** A schema of texts of digits, numbers, or objects with either. It lets numbers pass. */
function amountSchema(isAsync: boolean): StandardSchema<number> {
  const check = (value: unknown): SchemaResult<number> => {
    const amount = typeof value === "string" ? Number(value) : value;
    if (typeof amount === "number" && amount > 0) return { value: amount };
    return {
      issues: [
        { message: "should be above 0", path: ["account", { key: 3 }, Symbol("hidden")] },
        ...["second", "third", "fourth"].map((message) => ({ message })),
      ],
    };
  };
  return {
    "~standard": {
      version: 1,
      vendor: "test",
      validate: (value) => (isAsync ? Promise.resolve(check(value)) : check(value)),
    },
  };
}

/** Adds amounts; its commands are validated. */
const adder = (schema: StandardSchema<number>) => (): StateMachine<number, number> => {
  let total = 0;
  return machineOf((amount: number) => (total += amount), { schema });
};

describe.each([
  ["a synchronous schema", false],
  ["an asynchronous schema", true],
])("%s", (_what, isAsync) => {
  it("lets valid commands pass, and what it makes of them is proposed", async () => {
    const { cluster, leader, other } = await groupOf(adder(amountSchema(isAsync)));
    expect(await cluster.finish(leader.write(1))).toBe(1);
    expect(await cluster.finish(other.write("2" as unknown as number))).toBe(3);
    const session = await cluster.finish(other.openSession());
    expect(await cluster.finish(session.write("3" as unknown as number))).toBe(6);
  });

  it("refuses an invalid command on the node that is called, before anything is sent or proposed", async () => {
    const { cluster, leader, other } = await groupOf(adder(amountSchema(isAsync)));
    const session = await cluster.finish(leader.openSession());
    const { lastIndex } = leader.metrics();
    for (const writer of [leader, other, session]) {
      const error = await cluster.failure(writer.write(-1));
      expect(error).toMatchObject({
        code: "COMMAND_INVALID",
        outcome: "not-done",
        name: "CommandInvalidError",
      });
      expect(error.message).toBe(
        'the command is invalid: command.account[3]["Symbol(hidden)"]: should be above 0; second; third; and 1 more',
      );
      assert(error instanceof CommandInvalidError);
      expect(error.issues).toHaveLength(4);
      expect(error.issues[0]?.path).toEqual(["account", 3, "Symbol(hidden)"]);
    }
    expect(leader.metrics().lastIndex).toBe(lastIndex);
  });

  it.each<[string, () => unknown, string]>([
    [
      "throws",
      () => {
        throw new RangeError("a mistake");
      },
      "stateMachine.schema failed: a mistake",
    ],
    ["returns nothing", () => undefined, "stateMachine.schema failed: validate returned no result"],
    ["names no issue", () => ({ issues: [] }), "refuses it without a reason"],
  ])("that %s refuses the command", async (_mistake, answer, text) => {
    const validate = isAsync ? () => Promise.resolve().then(answer) : answer;
    const schema = { "~standard": { version: 1, vendor: "test", validate } } as StandardSchema<number>;
    const { cluster, leader } = await groupOf(adder(schema));
    const error = await cluster.failure(leader.write(1));
    expect(error).toMatchObject({ code: "COMMAND_INVALID", outcome: "not-done" });
    expect(error.message).toContain(text);
  });
});

describe("an asynchronous validation", () => {
  /** Validations that the test ends. */
  function pendingSchema(): {
    schema: StandardSchema<number>;
    end: ((result: SchemaResult<number>) => void)[];
  } {
    const end: ((result: SchemaResult<number>) => void)[] = [];
    const validate = (): Promise<SchemaResult<number>> => new Promise((resolve) => end.push(resolve));
    return { schema: { "~standard": { version: 1, vendor: "test", validate } }, end };
  }

  it("counts towards the time limit, and what follows has the rest of it", async () => {
    const { schema, end } = pendingSchema();
    const { cluster, leader } = await groupOf(adder(schema));
    expect(await cluster.failure(leader.write(1, { timeoutMs: 300 }))).toMatchObject({
      code: "ABORTED",
      outcome: "not-done",
    });
    cluster.isolate(leader.metrics().id);
    const startedAt = cluster.world.clock.now();
    const writing = leader.write(1, { timeoutMs: 300 });
    writing.catch(() => undefined);
    await cluster.advance(200);
    end[1]?.({ value: 1 });
    expect(await cluster.failure(writing)).toMatchObject({ code: "ABORTED", outcome: "unknown" });
    expect(cluster.world.clock.now() - startedAt).toBeLessThanOrEqual(310);
  });

  it("ends with the caller's signal, and with the node", async () => {
    const { schema } = pendingSchema();
    const { cluster, leader } = await groupOf(adder(schema));
    const controller = new AbortController();
    const aborted = cluster.failure(leader.write(1, { signal: controller.signal }));
    controller.abort();
    expect(await aborted).toMatchObject({ code: "ABORTED", outcome: "not-done" });
    const left = leader.write(1);
    left.catch(() => undefined);
    await cluster.finish(leader.close());
    expect(await cluster.failure(left)).toMatchObject({ code: "CLOSED", outcome: "not-done" });
  });

  it("is refused when limits.pendingEntriesMax of them are under way, also those that nobody waits for", async () => {
    const { schema, end } = pendingSchema();
    const { cluster, leader } = await groupOf(adder(schema), { limits: { pendingEntriesMax: 2 } });
    for (let at = 0; at < 2; at++) await cluster.failure(leader.write(1, { timeoutMs: 1 }));
    expect(await cluster.failure(leader.write(1))).toMatchObject({ code: "OVERLOADED", outcome: "not-done" });
    end[0]?.({ value: 1 });
    await cluster.advance(1);
    expect(await cluster.failure(leader.write(1, { timeoutMs: 1 }))).toMatchObject({ code: "ABORTED" });
  });
});

it.each<[string, unknown]>([
  ["null", null],
  ["another version", { "~standard": { version: 2, validate: () => undefined } }],
  ["a schema of a library without the standard", { parse: () => undefined }],
])("opening refuses %s as a schema", async (_what, schema) => {
  const cluster = new TestCluster();
  const stateMachine = machineOf((text: string) => text.length, { schema: schema as StandardSchema<string> });
  const error = await cluster.failure(cluster.startOpening("a", { stateMachine }));
  expect(error).toMatchObject({ code: "INVALID_OPTION" });
  expect(error.message).toContain("version 1 of https://standardschema.dev");
});
