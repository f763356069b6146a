// A program of a user that touches what depends on compiler options. It is compiled against the packed
// declarations with each of the settings in `compile.ts`, and never runs.
import { isRaftError, ListenFailedError, Raft, type ErrorCode, type RaftOptions } from "keelson";
import * as codec from "keelson/codec";
import * as core from "keelson/core";
import * as testing from "keelson/testing";
import * as memoryLog from "keelson/storage/memory";
import * as snapshots from "keelson/storage/snapshots";
import * as wal from "keelson/storage/wal";
import * as memoryTransport from "keelson/transport/memory";
import * as tcp from "keelson/transport/tcp";

export const everything = [codec, core, testing, memoryLog, snapshots, wal, memoryTransport, tcp];

/** Options that a program computes are often undefined. */
export function open(
  listen: string | undefined,
  timeoutMs: number | undefined,
): Promise<Raft<number, number>> {
  let total = 0;
  const options: RaftOptions<number, number> = {
    ...{ id: "a", data: "data", members: { a: "127.0.0.1:7001" }, listen },
    ...{ info: undefined, priority: undefined, forward: undefined, snapshots: undefined },
    timings: { callTimeoutMs: timeoutMs },
    limits: { commandBytesMax: undefined },
    stateMachine: { codec: undefined, schema: undefined, apply: (amount) => (total += amount) },
  };
  return Raft.open(options);
}

/** `AsyncDisposable` is known, whatever the program's own `lib`. */
export function asDisposable(raft: Raft<number, number>): AsyncDisposable {
  return raft;
}

export async function use(timeoutMs: number | undefined, signal: AbortSignal | undefined): Promise<string> {
  try {
    await using raft = await open(undefined, timeoutMs);
    await using session = await raft.openSession({ ttlMs: undefined, timeoutMs, signal });
    await session.write(1, { timeoutMs, signal });
    return "done";
  } catch (error) {
    if (error instanceof ListenFailedError) return `the port is in use: ${error.message}`;
    if (!isRaftError(error)) throw error;
    const code: ErrorCode = error.code;
    switch (error.code) {
      case "NOT_LEADER":
        return error.leader?.address ?? "no leader";
      case "LISTEN_FAILED":
        return error.message;
      case "SESSION_EXPIRED":
        return `session ${String(error.session)}`;
      // @ts-expect-error no error has this code
      case "NOT_LEADR":
        return "a typo";
      default:
        return error.retryable ? "try again" : code;
    }
  }
}
