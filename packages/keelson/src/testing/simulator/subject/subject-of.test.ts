import { describe, expect, it } from "vitest";
import type { StandardSchema, StateMachine, StateMachineCodec } from "../../../runtime/shared/index.ts";
import { planOf } from "../plan/make-plan.ts";
import type { Plan } from "../plan/plan.ts";
import { simulate, type RunResult } from "../simulate.ts";
import { subjectOf } from "./subject-of.ts";
import type { MakeSubject } from "./subject.ts";

type Command =
  | { readonly type: "open"; readonly account: string }
  | { readonly type: "move"; readonly from: string; readonly to: string; readonly amount: number };

/** Accounts and transfers, some of which are rejected. */
class Bank implements StateMachine<Command, { balance: number }> {
  readonly balances = new Map<string, number>();

  apply(command: Command): { balance: number } {
    if (command.type === "open") return { balance: this.#set(command.account, 100) };
    const { from, to, amount } = command;
    const balance = this.balances.get(from) ?? 0;
    if (balance < amount) throw new RangeError(`${from} has ${String(balance)}`);
    this.#set(to, (this.balances.get(to) ?? 0) + amount);
    return { balance: this.#set(from, (this.balances.get(from) ?? 0) - amount) };
  }

  #set(account: string, balance: number): number {
    this.balances.set(account, balance);
    return balance;
  }

  async *snapshot(): AsyncGenerator<Uint8Array, void, undefined> {
    const copy = JSON.stringify([...this.balances]);
    yield await Promise.resolve(new TextEncoder().encode(copy));
  }

  async restore(state: AsyncIterable<Uint8Array>): Promise<void> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of state) chunks.push(chunk.slice());
    this.balances.clear();
    for (const [account, balance] of JSON.parse(Buffer.concat(chunks).toString()) as [string, number][])
      this.balances.set(account, balance);
  }

  digest(): string {
    return JSON.stringify([...this.balances].sort());
  }
}

function bankSubject(stateMachine: () => Bank, hasDigest = true): MakeSubject {
  return subjectOf({
    stateMachine,
    commands: ({ chance, key }): Command =>
      chance.happens(0.2)
        ? { type: "open", account: key }
        : { type: "move", from: key, to: `k${String(chance.whole(1, 3))}`, amount: chance.whole(1, 40) },
    queries: ({ key }) => ({ name: `balance of ${key}`, run: ({ balances }) => balances.get(key) ?? null }),
    digest: hasDigest ? (bank) => bank.digest() : undefined,
  });
}

const plan = (seed: number): Plan => ({
  ...planOf(seed, false),
  ...{ nodes: 3, spares: 0, clockRates: [1, 1, 1], priorities: [], initializers: [0], keys: 3 },
  ...{ faultyMs: 1_000, clients: 4, thinkMs: 20, readShare: 0.4 },
  faults: [
    { type: "crash", at: 200, node: 0, ms: 50 },
    { type: "crash", at: 400, node: 1, ms: 50 },
  ],
});

async function runOf(subject: MakeSubject, seeds: readonly number[] = [1, 2]): Promise<RunResult> {
  let result = await simulate(plan(seeds[0] ?? 1), { subject });
  for (const seed of seeds.slice(1)) {
    if (result.violation !== null) break;
    result = await simulate(plan(seed), { subject });
  }
  return result;
}

async function messageOf(subject: MakeSubject, seeds?: readonly number[]): Promise<string> {
  return (await runOf(subject, seeds)).violation?.message ?? "none";
}

describe("a subject made from a state machine", () => {
  it("breaks no invariant if every copy behaves alike, with rejected commands too", async () => {
    const result = await runOf(bankSubject(() => new Bank()));
    expect(result.violation).toBeNull();
    expect(result.undecided).toBe(false);
    const answers = result.history.map((operation) =>
      "output" in operation ? String(operation.output) : "",
    );
    expect(answers.some((answer) => answer.startsWith('{"balance":'))).toBe(true);
    expect(answers.some((answer) => answer.startsWith('rejected: {"name":"RangeError"'))).toBe(true);
    expect(answers.some((answer) => /^\d+$/.test(answer))).toBe(true);
  });

  it("repeats exactly", async () => {
    const [one, other] = [
      await runOf(bankSubject(() => new Bank())),
      await runOf(bankSubject(() => new Bank())),
    ];
    expect(one.traceHash).toBe(other.traceHash);
  });

  it("needs no digest if the state machine has snapshots, and finds states that differ by them (SMS)", async () => {
    expect(await messageOf(bankSubject(() => new Bank(), false))).toBe("none");
    let made = 0;
    class Own extends Bank {
      readonly #ownName = `own${String(++made)}`;
      override apply(command: Command): { balance: number } {
        this.balances.set(this.#ownName, 0);
        return super.apply(command);
      }
    }
    const subject = subjectOf({
      stateMachine: () => new Own(),
      commands: ({ key }) => ({ type: "open", account: key }),
    });
    expect(await messageOf(subject)).toMatch(/^SMS: .* snapshots differ/);
  });

  it("finds answers that one copy would not give (LIN)", async () => {
    class Forgetful extends Bank {
      /** False for the single copy. */
      isNode = false;
      #applied = 0;
      override apply(command: Command): { balance: number } {
        const answer = super.apply(command);
        // As if a node gave the answer of another command: the states stay equal, and the answers are wrong.
        return ++this.#applied % 7 === 0 && this.isNode ? { balance: -1 } : answer;
      }
    }
    const subject = bankSubject(() => new Forgetful());
    const broken: MakeSubject = (of) => {
      const made = subject(of);
      return {
        ...made,
        machine: (host) => Object.assign(made.machine(host), { isNode: true }),
      };
    };
    expect(await messageOf(broken)).toMatch(/^LIN: /);
  });

  it("executes commands as the schema and the codec leave them", async () => {
    const schema: StandardSchema<{ add: number }> = {
      "~standard": { version: 1, vendor: "test", validate: () => ({ value: { add: 2.5 } }) },
    };
    const codec: StateMachineCodec<{ add: number }, number> = {
      encode: ({ add }) => Uint8Array.of(Math.floor(add)),
      decode: ([add = 0]) => ({ add }),
      encodeResult: (total) => Uint8Array.of(total % 200),
      decodeResult: ([total = 0]) => total,
    };
    const counter = () => {
      let total = 0;
      return { schema, codec, apply: ({ add }: { add: number }) => (total += add), read: () => total };
    };
    const subject = subjectOf({
      stateMachine: counter,
      commands: () => ({ add: 1 }),
      digest: ({ read }) => String(read()),
    });
    const result = await runOf(subject, [1]);
    expect(result.violation).toBeNull();
    expect(result.clients.writesDone).toBeGreaterThan(5);
  });

  it("says what it needs", async () => {
    const apply = (): number => 1;
    const commands = (): string => "x";
    expect(() => subjectOf({ stateMachine: () => ({ apply }), commands })(plan(1))).toThrow("needs `digest`");
    const timed = subjectOf({
      ...{ stateMachine: () => ({ apply, logTimeStepMs: 100 }), commands },
      digest: () => "",
    });
    expect(() => timed(plan(1))).toThrow("uses log time (logTimeStepMs)");
    const slow = subjectOf({
      stateMachine: () => ({ apply: () => Promise.resolve(1) }),
      commands,
      digest: () => "",
    });
    expect(await messageOf(slow)).toContain("`apply` returned a promise");
  });
});
