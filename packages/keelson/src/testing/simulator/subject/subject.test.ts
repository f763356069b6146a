import { describe, expect, it } from "vitest";
import type { Environment } from "../../../environment/environment.ts";
import { StateMachineFailure, type StateMachine } from "../../../runtime/shared/state-machine.ts";
import { registerModel, type RegisterInput, type RegisterOutput } from "../../linearizability/index.ts";
import { planOf } from "../plan/make-plan.ts";
import type { Plan } from "../plan/plan.ts";
import { simulate } from "../simulate.ts";
import type { Subject } from "./subject.ts";

/** The smallest subject: a register that holds a number. */
class Register implements StateMachine<number, number> {
  value = 0;

  readonly codec = {
    encode: (value: number) => Uint8Array.of(value),
    decode: (bytes: Uint8Array) => bytes[0] ?? 0,
  };

  open(): { term: number; index: number } {
    return { term: 0, index: 0 };
  }

  apply(value: number): number {
    this.value = value;
    return value;
  }
}

type RegisterSubject = Subject<Register, number, number, RegisterInput, RegisterOutput>;

type MakeRegister = (id: string, environment: Environment) => Register;

function registerSubject(machine: MakeRegister): () => RegisterSubject {
  return () => ({
    model: registerModel({ initial: 0 }),
    machine: ({ id, environment }) => machine(id, environment),
    write: ({ number }) => ({
      command: number % 256,
      input: { type: "write", value: number % 256 },
      output: () => ({}),
    }),
    read: () => ({ input: { type: "read" }, query: ({ value }) => ({ value }) }),
    describe: String,
    nameOf: () => null,
    digest: ({ value }) => Promise.resolve(String(value)),
  });
}

const PLAN: Plan = {
  ...planOf(1),
  nodes: 3,
  spares: 0,
  clockRates: [1, 1, 1],
  initializers: [0],
  faultyMs: 500,
  clients: 2,
  thinkMs: 20,
  // The register doesn't encode results, which sessions need.
  sessions: null,
  faults: [{ type: "crash", at: 200, node: 1, ms: 20 }],
};

async function codeOf(machine: MakeRegister): Promise<string | null> {
  const { violation } = await simulate(PLAN, { subject: registerSubject(machine) });
  return violation?.code ?? null;
}

describe("simulate with a user's state machine", () => {
  it("finds no violation if the state machine does what its model says", async () => {
    const result = await simulate(PLAN, { subject: registerSubject(() => new Register()) });
    expect(result.violation).toBeNull();
    expect(result.clients.writesDone).toBeGreaterThan(5);
    expect(result.clients.readsDone).toBeGreaterThan(0);
  });

  it("reports a state machine that loses writes (LIN)", async () => {
    class Lossy extends Register {
      override apply(value: number): number {
        if (value % 3 !== 0) this.value = value;
        return value;
      }
    }
    expect(await codeOf(() => new Lossy())).toBe("LIN");
  });

  it("reports a state machine that applies differently on one node (SMS)", async () => {
    class Own extends Register {
      override apply(value: number): number {
        this.value = value + 1;
        return value;
      }
    }
    const code = await codeOf((id) => (id === "n3" ? new Own() : new Register()));
    expect(code).toBe("SMS");
  });

  it("reports a rejection that the subject doesn't expect", async () => {
    class Picky extends Register {
      override apply(value: number): number {
        if (value > 5) throw new Error("too large");
        return super.apply(value);
      }
    }
    expect(await codeOf(() => new Picky())).toBe("REJECT");
  });

  it("reports a state machine that stops its node without a fault (FAILSTOP)", async () => {
    class Failing extends Register {
      override apply(value: number): number {
        if (value > 5) throw new StateMachineFailure("tired");
        return super.apply(value);
      }
    }
    expect(await codeOf(() => new Failing())).toBe("FAILSTOP");
  });

  it("reports a state machine that keeps its node busy so that time can't advance (LIVE)", async () => {
    const busy = (environment: Environment): void => {
      environment.setTimer(0, () => {
        environment.defer(() => {
          busy(environment);
        });
      });
    };
    class Busy extends Register {
      readonly #environment: Environment;

      constructor(environment: Environment) {
        super();
        this.#environment = environment;
      }

      override apply(value: number): number {
        if (value > 5) busy(this.#environment);
        return super.apply(value);
      }
    }
    const { violation } = await simulate(PLAN, {
      subject: registerSubject((_, environment) => new Busy(environment)),
    });
    expect(violation?.message).toContain("LIVE: time stands still");
  });
});
