import type { FakeClock } from "../../environment/fake-clock.ts";
import { RaftError } from "../../errors.ts";
import { History, type KeyValueInput, type KeyValueOutput } from "../linearizability/index.ts";
import type { OpenOperation } from "../linearizability/index.ts";
import type { Chance } from "./chance.ts";
import type { Plan } from "./plan.ts";
import { CALL_TIMEOUT_MS, type SimProcess } from "./sim-process.ts";
import type { SimCommand } from "./sim-store.ts";
import { Violation } from "./violation.ts";

/** Clocks drift, timers come late and processes pause; beyond this a call has no excuse for not having ended. */
const CALL_GRACE_MS = 1_000;

interface Call {
  readonly process: SimProcess;
  readonly op: string;
  readonly isWrite: boolean;
  readonly open: OpenOperation<KeyValueOutput> | null;
  readonly calledAt: number;
  readonly next: () => void;
}

/** What became of the writes, for the summary and the checks at the end. */
export interface ClientFigures {
  writes: number;
  writesDone: number;
  writesNotDone: number;
  writesUnknown: number;
  reads: number;
  readsDone: number;
}

export interface ClientsHost {
  readonly plan: Plan;
  readonly clock: FakeClock;
  readonly processes: readonly SimProcess[];
  readonly report: (error: unknown) => void;
  readonly trace: (text: string) => void;
}

/**
 * The clients: each makes one call at a time, to the node that it takes for the leader or to any,
 * and writes down what it was told. Their history is checked for linearizability at the end.
 */
export class SimClients {
  readonly history: History<KeyValueInput, KeyValueOutput>;
  readonly figures: ClientFigures = {
    writes: 0,
    writesDone: 0,
    writesNotDone: 0,
    writesUnknown: 0,
    reads: 0,
    readsDone: 0,
  };
  /** Names of the writes that were acknowledged, and of those that surely were not done. */
  readonly acknowledged = new Set<string>();
  readonly notDone = new Set<string>();
  readonly #host: ClientsHost;
  readonly #chance: Chance;
  readonly #calls = new Set<Call>();
  #ops = 0;
  #quiet = false;
  #stopped = false;

  constructor(host: ClientsHost, chance: Chance) {
    this.#host = host;
    this.#chance = chance;
    this.history = new History(() => host.clock.now());
  }

  start(): void {
    for (let client = 0; client < this.#host.plan.clients; client++) this.#later(client);
  }

  set quiet(quiet: boolean) {
    this.#quiet = quiet;
  }

  stop(): void {
    this.#stopped = true;
  }

  get underWay(): number {
    return this.#calls.size;
  }

  /** A process died: nobody will ever hear of what it was asked. */
  died(process: SimProcess): void {
    for (const call of [...this.#calls]) {
      if (call.process === process) this.#end(call, "unknown", "its node died");
    }
  }

  /** A node stopped by itself: what was asked of it has ended, one way or another (KNOWN). */
  stopped(process: SimProcess): void {
    for (const call of this.#calls) {
      if (call.process !== process) continue;
      throw new Violation("KNOWN", `${process.id} stopped and left ${call.op} without an answer`);
    }
  }

  /** Each call to a process that runs ends in bounded time (KNOWN). */
  checkBounds(): void {
    const now = this.#host.clock.now();
    for (const { process, op, calledAt } of this.#calls) {
      const limitMs = CALL_TIMEOUT_MS / Math.min(1, process.clockMood.rate) + CALL_GRACE_MS;
      if (now - calledAt <= limitMs) return; // So are those that came later.
      if (process.isPaused || now - process.resumedAt <= CALL_GRACE_MS) continue;
      throw new Violation(
        "KNOWN",
        `${op} at ${process.id} has not ended ${String(Math.round(now - calledAt))} ms after the call`,
      );
    }
  }

  /** One write by hand, to the leader that is there. */
  write(process: SimProcess, command: SimCommand): Promise<unknown> {
    return process.raft?.write(command) ?? Promise.reject(new Error(`${process.id} is down`));
  }

  #later(client: number): void {
    if (this.#stopped) return;
    this.#host.clock.setTimer(this.#chance.time(this.#host.plan.thinkMs), () => {
      this.#act(client);
    });
  }

  #act(client: number): void {
    if (this.#stopped) return;
    const up = this.#host.processes.filter((process) => process.isUp);
    if (this.#quiet || up.length === 0) {
      this.#later(client);
      return;
    }
    const process = this.#choose(up);
    const key = `k${String(this.#chance.whole(1, this.#host.plan.keys))}`;
    if (this.#chance.happens(this.#host.plan.readShare)) this.#read(client, process, key);
    else this.#write(client, process, key);
  }

  /** Mostly the leader, if a node says that it is; sometimes anyone, because clients are often wrong. */
  #choose(up: readonly SimProcess[]): SimProcess {
    const leaders = up.filter((process) => process.raft?.metrics().role === "leader");
    return leaders.length > 0 && this.#chance.happens(0.8)
      ? this.#chance.pick(leaders)
      : this.#chance.pick(up);
  }

  #write(client: number, process: SimProcess, key: string): void {
    const op = `w${String(++this.#ops)}`;
    const command = this.#command(op, key);
    const open =
      command.type === "poison" ? null : this.history.invoke(`c${String(client)}`, inputOf(command));
    const call = this.#begin(client, process, op, true, open);
    this.figures.writes += 1;
    this.#host.trace(`c${String(client)} ${command.type} ${op} ${key} at ${process.id}`);
    this.write(process, command).then(
      (result) => {
        this.#end(call, "done", "", { applied: (result as { applied: boolean }).applied });
      },
      (error: unknown) => {
        const rejected = command.type === "poison" && codeOf(error) === "COMMAND_REJECTED";
        this.#end(call, rejected ? "done" : outcomeOf(error), codeOf(error));
      },
    );
  }

  #read(client: number, process: SimProcess, key: string): void {
    const op = `r${String(++this.#ops)}`;
    const open = this.history.invoke(`c${String(client)}`, { type: "get", key });
    const call = this.#begin(client, process, op, false, open);
    this.figures.reads += 1;
    this.#host.trace(`c${String(client)} get ${op} ${key} at ${process.id}`);
    const { store } = process;
    const answer = process.raft?.read(() => store?.get(key) ?? null) ?? Promise.reject(new Error("down"));
    answer.then(
      (value) => {
        this.#end(call, "done", "", { value });
      },
      (error: unknown) => {
        this.#end(call, "not-done", codeOf(error));
      },
    );
  }

  #command(op: string, key: string): SimCommand {
    const value = op.padEnd(
      this.#chance.whole(op.length, Math.max(op.length, this.#host.plan.valueBytesMax)),
      ".",
    );
    const dice = this.#chance.random();
    if (dice < 0.03) return { type: "poison", op };
    if (dice < 0.15) return { type: "delete", op, key };
    if (dice < 0.4) {
      // From what some node shows: often right, sometimes stale.
      const seen = this.#chance.pick(this.#host.processes).store?.get(key) ?? null;
      return { type: "compare-and-set", op, key, from: seen, to: value };
    }
    return { type: "put", op, key, value };
  }

  #begin(
    client: number,
    process: SimProcess,
    op: string,
    isWrite: boolean,
    open: OpenOperation<KeyValueOutput> | null,
  ): Call {
    const call: Call = {
      process,
      op,
      isWrite,
      open,
      calledAt: this.#host.clock.now(),
      next: () => {
        this.#later(client);
      },
    };
    this.#calls.add(call);
    return call;
  }

  #end(call: Call, outcome: "done" | "not-done" | "unknown", why: string, output: KeyValueOutput = {}): void {
    if (!this.#calls.delete(call)) return;
    this.#host.trace(`${call.op} ${outcome}${why === "" ? "" : ` (${why})`}`);
    if (outcome === "done") call.open?.done(output);
    else if (outcome === "not-done") call.open?.notDone();
    else call.open?.unknown();
    this.#count(call, outcome);
    call.next();
  }

  #count({ op, isWrite }: Call, outcome: "done" | "not-done" | "unknown"): void {
    if (!isWrite) {
      if (outcome === "done") this.figures.readsDone += 1;
      return;
    }
    if (outcome === "done") {
      this.figures.writesDone += 1;
      this.acknowledged.add(op);
    } else if (outcome === "not-done") {
      this.figures.writesNotDone += 1;
      this.notDone.add(op);
    } else {
      this.figures.writesUnknown += 1;
    }
  }
}

function inputOf(command: Exclude<SimCommand, { type: "poison" }>): KeyValueInput {
  switch (command.type) {
    case "put":
      return { type: "put", key: command.key, value: command.value };
    case "delete":
      return { type: "delete", key: command.key };
    case "compare-and-set":
      return { type: "compare-and-set", key: command.key, from: command.from, to: command.to };
  }
}

function codeOf(error: unknown): string {
  return error instanceof RaftError ? error.code : String(error);
}

/** What the error says of the write; an error that says nothing leaves it unknown. */
function outcomeOf(error: unknown): "not-done" | "unknown" {
  return error instanceof RaftError && error.outcome === "not-done" ? "not-done" : "unknown";
}
