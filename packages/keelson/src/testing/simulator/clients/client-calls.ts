/**
 * What the simulated clients share: how a call ends, what clients get from the run, and what session clients
 * may use.
 */
import type { SimulatedClock } from "../../../environment/simulated/simulated-clock.ts";
import { CommandRejectedError, RaftError, ResultUnavailableError } from "../../../errors.ts";
import type { StateMachine } from "../../../runtime/shared/index.ts";
import type { History, OpenOperation } from "../../linearizability/index.ts";
import type { ClusterChecker } from "../checkers/cluster-checker.ts";
import type { Plan } from "../plan/plan.ts";
import type { AnySubject, CallContext } from "../subject/subject.ts";
import type { SimProcess } from "../world/sim-process.ts";

/** What a client knows of its call when it has ended. */
export type Outcome = "done" | "not-done" | "unknown";

/** Told how a call ended, and for an error its code. */
export type OnEnd = (outcome: Outcome, why: string) => void;

/** How one attempt at a call ended. */
export interface AttemptResult {
  readonly outcome: Outcome;
  /** The error's code; "" if there was no error. */
  readonly why: string;
}

/** How the clients' calls ended, for the summary of the run. */
export interface ClientFigures {
  writes: number;
  writesDone: number;
  writesNotDone: number;
  writesUnknown: number;
  reads: number;
  readsDone: number;
}

/** What clients get from the run. */
export interface ClientsParts {
  readonly plan: Plan;
  readonly subject: AnySubject;
  readonly clock: SimulatedClock;
  readonly processes: readonly SimProcess[];
  readonly checker: ClusterChecker;
  readonly report: (error: unknown) => void;
  readonly trace: (text: string) => void;
}

/** A call under way. */
export interface Call {
  readonly process: SimProcess;
  /** Its name in the trace. */
  readonly op: string;
  readonly isWrite: boolean;
  /** The subject's name for the command; null: it has none, or the call is a read. */
  readonly name: string | null;
  /** Its place in the history; null: it isn't there. */
  readonly open: OpenOperation<unknown> | null;
  /** When it was made, in true time. */
  readonly calledAt: number;
  readonly timeoutMs: number;
  /** It is forwarded or repeated until its time limit, so a leader that steps down doesn't end it sooner. */
  readonly endsByTimeLimit?: boolean;
  /** It was made on a node that didn't lead, so it waits while that node knows no leader. */
  readonly waitsForLeader?: boolean;
  readonly ended: OnEnd;
  /**
   * Whether the maker of the call counts its attempts as one call: `OpenCalls` then doesn't count this one.
   */
  readonly isAttempt?: boolean;
  /**
   * Since when its node hasn't led, in true time; null: it leads, or it wasn't looked at yet. Written by
   * `OpenCalls`.
   */
  notLeadingSince: number | null;
  /**
   * The number of the node's spell without leadership (`NodeWrites.spell`) for which `notLeadingSince` holds.
   * Written by `OpenCalls`.
   */
  spell: number;
}

/** Clients that write in sessions. */
export interface SessionClients {
  /** One write of this client, in the session of its group. Resolves when the client is done with it. */
  write(client: string, group: string, key: string): Promise<void>;
  /** From now on, clients repeat no write. */
  stop(): void;
}

/** The part of `SimClients` that clients with sessions use. */
export interface CallMaker {
  readonly history: History<unknown, unknown>;
  readonly figures: ClientFigures;
  /** A running node to call: mostly one that says it leads; null: none is up, or no calls are to be made. */
  choose(): SimProcess | null;
  /** In a share of the calls a signal, which aborts the call early; otherwise nothing. */
  abortOptions(): { readonly signal?: AbortSignal };
  /** What the subject needs to make up one call. */
  context(key: string): CallContext<StateMachine<unknown, unknown>>;
  /**
   * Makes one attempt at a call that may take several; it isn't written into the history. The attempt is
   * registered before it is made: the call may touch the disk, a fault may kill the process at that moment,
   * and an attempt registered later would never be ended.
   */
  attempt(
    op: string,
    process: SimProcess,
    isWrite: boolean,
    ask: () => Promise<void>,
    timeoutMs?: number,
    endsByTimeLimit?: boolean,
  ): Promise<AttemptResult>;
  /** A write that took several attempts has ended: it is counted as one call, with this outcome. */
  settled(name: string | null, outcome: Outcome): void;
  /** Runs a check; an error that it throws is reported as the run's violation. */
  watch(check: () => void): void;
}

/** What the error says about the call. An error that isn't the library's leaves it unknown. */
export function outcomeOf(error: unknown): "not-done" | "unknown" {
  return error instanceof RaftError && error.outcome === "not-done" ? "not-done" : "unknown";
}

/** The error's code, or its text if it isn't the library's. */
export function codeOf(error: unknown): string {
  return error instanceof RaftError ? error.code : String(error);
}

/**
 * Whether the command took effect and has no result: `apply` threw, or the codec couldn't encode what it
 * returned. Every attempt of the command ends so. A result that can't be decoded isn't meant: it differs from
 * what was encoded, which is a bug.
 */
export function tookEffectWithoutResult(error: unknown): error is RaftError {
  if (error instanceof CommandRejectedError) return true;
  return error instanceof ResultUnavailableError && error.message.includes("could not be encoded");
}
