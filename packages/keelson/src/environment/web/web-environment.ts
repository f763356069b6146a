// The clock, timers and randomness of browsers and other runtimes of the web platform. What
// keelson/environment/web exports.
import { InvalidOptionError } from "../../errors.ts";
import type { Environment, FileSystem, Network } from "../environment.ts";
import { setRealTimer } from "../real-timer.ts";

/** Options of `webEnvironment`. */
export interface WebEnvironmentOptions {
  /** Files, for a log or snapshots on files. Default: none; use those in memory. */
  readonly files?: FileSystem | undefined;
  /** Byte streams, for the transport on TCP. Default: none; use another transport. */
  readonly network?: Network | undefined;
}

/**
 * An environment for browsers: a node's clock and timers are those of the page or worker. It has neither
 * files nor a network unless you pass them, so give the node a log, snapshots and a transport that need none.
 *
 * A browser slows the timers of a page in the background down to one a second, or one a minute. A node there
 * falls behind, or loses its leadership, and catches up later.
 *
 * @example
 * const environment = webEnvironment();
 */
export function webEnvironment(options: WebEnvironmentOptions = {}): Environment {
  return {
    now: () => performance.now(),
    wallClock: () => Date.now(),
    random: () => Math.random(),
    randomBytes: (count) => crypto.getRandomValues(new Uint8Array(count)),
    setTimer: setRealTimer,
    defer: deferrer(),
    files: options.files ?? NO_FILES,
    network: options.network ?? NO_NETWORK,
  };
}

/**
 * Defers by messages of a channel to itself: each is a task of its own. Not by `setTimeout`, which browsers
 * delay by 4 ms when timers set timers; not by `queueMicrotask`, which would call back before input that is
 * ready.
 */
function deferrer(): (callback: () => void) => void {
  let channel: InstanceType<typeof MessageChannel> | null = null;
  const callbacks: (() => void)[] = [];
  return (callback) => {
    if (channel === null) {
      channel = new MessageChannel();
      // One callback for each message, so that one that throws doesn't take the others with it.
      channel.port1.addEventListener("message", () => callbacks.shift()?.());
      channel.port1.start();
    }
    callbacks.push(callback);
    channel.port2.postMessage(null);
  };
}

async function withoutFiles(): Promise<never> {
  throw new InvalidOptionError(
    "this environment has no files: give log and snapshots.store, such as memoryLog() and memorySnapshots(), or " +
      "pass files to webEnvironment",
  );
}

const NO_FILES: FileSystem = {
  open: withoutFiles,
  list: withoutFiles,
  makeDirectory: withoutFiles,
  remove: withoutFiles,
  rename: withoutFiles,
  syncDirectory: withoutFiles,
  lock: withoutFiles,
};

function withoutNetwork(): InvalidOptionError {
  return new InvalidOptionError(
    "this environment has no byte streams: give transport, such as memoryTransport() or one of your own, or pass " +
      "network to webEnvironment",
  );
}

const NO_NETWORK: Network = {
  async listen() {
    throw withoutNetwork();
  },
  connect() {
    throw withoutNetwork();
  },
};
