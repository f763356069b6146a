import { randomBytes, randomInt, randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { replaceRealSources } from "../../../environment/node/real-sources.ts";
import type { StateMachine } from "../../../runtime/shared/index.ts";
import { registerModel, type RegisterInput, type RegisterOutput } from "../../linearizability/index.ts";
import type { Violation } from "../checkers/violation.ts";
import { planOf } from "../plan/make-plan.ts";
import type { Plan } from "../plan/plan.ts";
import { simulate } from "../simulate.ts";
import { DeterminismTrap } from "./determinism-trap.ts";
import type { Subject } from "../subject/subject.ts";

const SOURCES: Readonly<Record<string, () => unknown>> = {
  "Date.now()": () => Date.now(),
  "new Date()": () => new Date(),
  "Date()": () => Date(),
  "performance.now()": () => performance.now(),
  "process.hrtime()": () => process.hrtime(),
  "process.hrtime.bigint()": () => process.hrtime.bigint(),
  "Math.random()": () => Math.random(),
  "crypto.randomUUID()": () => crypto.randomUUID(),
  "crypto.getRandomValues()": () => crypto.getRandomValues(new Uint8Array(1)),
  "crypto.randomBytes()": () => randomBytes(1),
  "crypto.randomInt()": () => randomInt(2),
  "setTimeout()": () => setTimeout(() => undefined, 0),
  "setInterval()": () => setInterval(() => undefined, 1_000),
};

describe("traps of real clocks and random numbers", () => {
  let removeTraps: () => void = () => undefined;
  const reports: Violation[] = [];
  const trap = new DeterminismTrap((violation) => reports.push(violation), true);

  afterEach(() => {
    removeTraps();
    reports.length = 0;
  });

  it.each(Object.entries(SOURCES))("report %s, and say where it is called", (shown, use) => {
    removeTraps = replaceRealSources();
    expect(() => trap.inMachine("apply", use)).toThrow("apply may not be deterministic");
    expect(reports.map(({ code, message }) => [code, message])).toEqual([
      ["DET", expect.stringContaining(`it calls ${shown}, `) as string],
    ]);
    expect(reports[0]?.message.split("\n")[1]).toContain("determinism-trap.test.ts");
  });

  it("report what is called by the name that a module imported", () => {
    removeTraps = replaceRealSources();
    expect(() => trap.inMachine("apply", () => randomUUID())).toThrow("crypto.randomUUID()");
    expect(() => trap.inMachine("apply", () => delay(1))).toThrow("setTimeout()");
  });

  it("report what an asynchronous function calls after it has waited", async () => {
    removeTraps = replaceRealSources();
    const applying = trap.inMachine("apply", async () => {
      await Promise.resolve();
      await new Promise(setImmediate);
      return Date.now();
    });
    await expect(applying).rejects.toThrow("apply may not be deterministic: it calls Date.now()");
  });

  it("leave all other code alone, also while an asynchronous function waits", async () => {
    removeTraps = replaceRealSources();
    let resume: () => void = () => undefined;
    const applying = trap.inMachine("apply", () => new Promise<void>((resolve) => (resume = resolve)));
    for (const use of Object.values(SOURCES)) {
      const made = use();
      if (typeof made === "object" && made !== null && "unref" in made) clearTimeout(made as NodeJS.Timeout);
    }
    await delay(1);
    resume();
    await applying;
    expect(reports).toEqual([]);
  });

  it("leave a date alone that is made from a number, and what a date is an instance of", () => {
    removeTraps = replaceRealSources();
    const date = trap.inMachine("apply", () => new Date(5));
    class Own extends Date {}
    expect([date.getTime(), date instanceof Date, date.constructor === Date]).toEqual([5, true, true]);
    expect([new Own(7) instanceof Own, new Own(7).getTime(), Date.UTC(1970, 0)]).toEqual([true, 7, 0]);
  });

  it("are removed when the last run that set them has ended", () => {
    const before = { Date, now: performance.now, random: Math.random, uuid: crypto.randomUUID };
    const first = replaceRealSources();
    const second = replaceRealSources();
    expect(Math.random).not.toBe(before.random);
    first();
    first();
    expect(Math.random).not.toBe(before.random);
    second();
    expect({ Date, now: performance.now, random: Math.random, uuid: crypto.randomUUID }).toEqual(before);
    expect(Object.hasOwn(performance, "now")).toBe(false);
    expect(trap.inMachine("apply", () => Date.now())).toBeGreaterThan(0);
  });

  it("are off if the run doesn't want them", () => {
    removeTraps = replaceRealSources();
    const off = new DeterminismTrap((violation) => reports.push(violation), false);
    expect(off.inMachine("apply", () => Date.now())).toBeGreaterThan(0);
    expect(reports).toEqual([]);
  });
});

const encoder = new TextEncoder();

/** A register that holds a number, with snapshots. */
class Register implements StateMachine<number, number> {
  value = 0;

  apply(value: number): number | Promise<number> {
    this.value = value;
    return value;
  }

  async *snapshot(): AsyncGenerator<Uint8Array, void, undefined> {
    yield await Promise.resolve(encoder.encode(String(this.value)));
  }

  async restore(state: AsyncIterable<Uint8Array>): Promise<void> {
    let text = "";
    for await (const chunk of state) text += Buffer.from(chunk).toString();
    this.value = Number(text);
  }
}

type RegisterSubject = Subject<Register, number, number, RegisterInput, RegisterOutput>;

function subjectWith(
  machine: (id: string) => Register,
  changes: Partial<RegisterSubject> = {},
): RegisterSubject {
  return {
    model: registerModel({ initial: 0 }),
    machine: ({ id }) => machine(id),
    write: ({ number }) => ({ command: number, input: { type: "write", value: number }, output: () => ({}) }),
    read: () => ({ input: { type: "read" }, query: ({ value }) => ({ value }) }),
    describe: String,
    digest: ({ value }) => String(value),
    ...changes,
  };
}

const PLAN: Plan = {
  ...planOf(1),
  ...{ nodes: 3, spares: 0, clockRates: [1, 1, 1], initializers: [0] },
  ...{ faultyMs: 500, clients: 2, thinkMs: 20, readShare: 0.5, faults: [] },
};

async function messageOf(subject: RegisterSubject, trapsRealTime = true): Promise<string> {
  const { violation } = await simulate(PLAN, { subject: () => subject, trapsRealTime });
  return violation?.message.split("\n")[0] ?? "none";
}

describe("a simulated run", () => {
  it.each<[string, RegisterSubject]>([
    [
      "apply",
      subjectWith(() =>
        Object.assign(new Register(), {
          async apply(this: Register, value: number) {
            await Promise.resolve();
            this.value = value;
            return value + Date.now() * 0;
          },
        }),
      ),
    ],
    [
      "query",
      subjectWith(() => new Register(), {
        read: () => ({
          input: { type: "read" },
          query: ({ value }) => ({ value: value + Math.random() * 0 }),
        }),
      }),
    ],
    [
      "snapshot",
      subjectWith(() =>
        Object.assign(new Register(), {
          async *snapshot() {
            yield await Promise.resolve(encoder.encode("0".repeat(Number(new Date() < new Date(0)))));
          },
        }),
      ),
    ],
    [
      "write",
      subjectWith(() => new Register(), {
        write: ({ number }) => {
          const value = number + Math.floor(Math.random());
          return { command: value, input: { type: "write", value }, output: () => ({}) };
        },
      }),
    ],
    ["digest", subjectWith(() => new Register(), { digest: ({ value }) => String(value + Date.now() * 0) })],
    ["machine", subjectWith(() => Object.assign(new Register(), { value: Date.now() * 0 }))],
  ])("ends with DET if %s reads the real time or draws a random number", async (what, subject) => {
    expect(await messageOf(subject)).toMatch(new RegExp(`^DET: ${what} may not be deterministic: it calls `));
    expect(await messageOf(subject, false)).toBe("none");
  });

  it("compares the nodes' snapshots, also where the digests are equal (SMS)", async () => {
    const withOwnPart = (id: string): Register =>
      Object.assign(new Register(), {
        async *snapshot(this: Register) {
          yield await Promise.resolve(encoder.encode(`${String(this.value)}.${id === "n2" ? "0" : "00"}`));
        },
      });
    expect(await messageOf(subjectWith(withOwnPart))).toMatch(
      /^SMS: n1 and n2 .* snapshots differ from byte \d+ on/,
    );
    expect(await messageOf(subjectWith(withOwnPart, { comparesSnapshots: false }))).toBe("none");
  });
});
