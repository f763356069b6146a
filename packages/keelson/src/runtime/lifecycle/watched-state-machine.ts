// Watches all calls to the state machine.
import { assert } from "../../core/assert.ts";
import { ORIGIN } from "../../core/position.ts";
import type { StallWatch, WatchedCall } from "../loop/index.ts";
import {
  isPromiseLike,
  jsonCodec,
  type CodedStateMachine,
  type StateMachine,
  type StateMachineHost,
} from "../shared/index.ts";

/**
 * Stands between the node and its state machine, and watches each call: a state machine that hangs must not
 * go unnoticed (Z15). Closing isn't watched: it comes with the end of the node, and `shutDown` limits the
 * time of each part's closing.
 */
export function watchedStateMachine<Command, Result>(
  machine: StateMachine<Command, Result>,
  watch: StallWatch,
): CodedStateMachine<Command, Result> {
  const run = <T>(what: string, call: (call: WatchedCall) => Promise<T>): Promise<T> =>
    watch.monitor("state-machine", what, call);
  return {
    codec: machine.codec ?? jsonCodec(),
    schema: machine.schema,
    logTimeStepMs: machine.logTimeStepMs,
    open: (identity, host) => run("opening it", async () => machine.open?.(identity, host) ?? ORIGIN),
    apply: (command, at) => {
      const result = machine.apply(command, at);
      // A synchronous answer needs no watch, and must stay synchronous: a promise would cost a turn of the
      // microtask queue.
      if (!isPromiseLike(result)) return result;
      return run(`applying entry ${String(at.index)}`, () => Promise.resolve(result));
    },
    ...(machine.flush !== undefined && {
      flush: (applied, sessions) => {
        const flushing = machine.flush?.(applied, sessions);
        if (flushing === undefined) return;
        return run(`flushing entry ${String(applied.index)}`, () => Promise.resolve(flushing));
      },
    }),
    ...(machine.snapshot !== undefined && {
      snapshot: () => watchedChunks(machine.snapshot?.(), run),
    }),
    ...(machine.restore !== undefined && {
      restore: async (state, at, sessions) =>
        run(`restoring the snapshot of entry ${String(at.index)}`, async (call) =>
          machine.restore?.(countedChunks(state, call), at, sessions),
        ),
    }),
    close: () => machine.close?.(),
  };
}

/** What a state machine is given to report progress, and to have its own calls watched. */
export function stateMachineHost(watch: StallWatch): StateMachineHost {
  return {
    progress: () => {
      watch.progress("state-machine");
    },
    watch: (what, call) => watch.monitor("state-machine", what, call, { sharesProgress: false }),
  };
}

type Run = <T>(what: string, call: () => Promise<T>) => Promise<T>;

/**
 * Watches each step to the next chunk. The first step still runs within the caller's `next`, as
 * `StateMachine.snapshot` promises.
 */
function watchedChunks(state: AsyncIterable<Uint8Array> | undefined, run: Run): AsyncIterable<Uint8Array> {
  assert(state !== undefined, "the state machine has snapshots");
  return {
    [Symbol.asyncIterator]: () => {
      const chunks = state[Symbol.asyncIterator]();
      return {
        next: () => run("reading the state for a snapshot", () => chunks.next()),
        return: () => run("ending the reading of the state", async () => chunks.return?.() ?? DONE),
      };
    },
  };
}

const DONE = { done: true, value: undefined } as const;

/**
 * Each chunk that the state machine takes is progress. While it waits for one, the snapshot store is watched.
 */
async function* countedChunks(
  state: AsyncIterable<Uint8Array>,
  call: WatchedCall,
): AsyncGenerator<Uint8Array, void, undefined> {
  const chunks = state[Symbol.asyncIterator]();
  try {
    for (;;) {
      call.wait();
      const chunk = await chunks.next();
      call.progress();
      if (chunk.done === true) return;
      yield chunk.value;
    }
  } finally {
    call.progress();
    await chunks.return?.();
  }
}
