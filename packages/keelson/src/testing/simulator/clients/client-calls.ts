/** What the simulated clients share: what a call came to, what they need from the run, and what session clients may use. */
import type { SimulatedClock } from "../../../environment/simulated/simulated-clock.ts";
import type { History } from "../../linearizability/index.ts";
import type { StateMachine } from "../../../runtime/shared/index.ts";
import type { ClusterChecker } from "../checkers/cluster-checker.ts";
import type { Plan } from "../plan/plan.ts";
import type { AnySubject, CallContext } from "../subject/subject.ts";
import type { SimProcess } from "../world/sim-process.ts";

/** What a client learns of its call. */
export type Outcome = "done" | "not-done" | "unknown";

/** What came of one attempt. */
export interface AttemptResult {
  readonly outcome: Outcome;
  readonly why: string;
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

export interface ClientsParts {
  readonly plan: Plan;
  readonly subject: AnySubject;
  readonly clock: SimulatedClock;
  readonly processes: readonly SimProcess[];
  readonly checker: ClusterChecker;
  readonly report: (error: unknown) => void;
  readonly trace: (text: string) => void;
}

/** Clients that write in sessions, in some way. */
export interface SessionClients {
  /** One write of this client, in the session of its group; it resolves when the client is done with it. */
  write(client: string, group: string, key: string): Promise<void>;
  /** From now on nobody repeats anything. */
  stop(): void;
}

/** The part of `SimClients` that clients with sessions use. */
export interface CallMaker {
  readonly history: History<unknown, unknown>;
  readonly figures: ClientFigures;
  /** A running node to ask: usually the one that the clients take for the leader; null: none is up. */
  choose(): SimProcess | null;
  /** Options that make an impatient caller give up early, in a share of the calls. */
  abortOptions(): { readonly signal?: AbortSignal };
  /** What the subject needs to make up one call. */
  context(key: string): CallContext<StateMachine<unknown, unknown>>;
  /**
   * One attempt at a call that may take several; it isn't written into the history. The attempt is registered before it is
   * made, because the call itself may touch the disk, and the process may die of that at once.
   */
  attempt(
    op: string,
    process: SimProcess,
    isWrite: boolean,
    ask: () => Promise<void>,
    timeoutMs?: number,
    endsByTimeLimit?: boolean,
  ): Promise<AttemptResult>;
  /** A write that took several attempts has ended. */
  settled(name: string | null, outcome: Outcome): void;
  /** Runs a check; an error that it throws is reported as the run's violation. */
  watch(check: () => void): void;
}
