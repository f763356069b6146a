// Node's clock, randomness, files and network: the environment of production.
import { randomBytes } from "node:crypto";
import { channel } from "node:diagnostics_channel";
import type { Environment } from "../environment.ts";
import { setRealTimer } from "../real-timer.ts";
import { startEnvironmentLog } from "./environment-log.ts";
import { nodeFiles } from "./node-files.ts";
import { nodeNetwork } from "./node-network.ts";

/** The environment that production runs on. */
export function nodeEnvironment(): Environment {
  startEnvironmentLog();
  return {
    now: () => performance.now(),
    wallClock: () => Date.now(),
    random: () => Math.random(),
    randomBytes: (count) => new Uint8Array(randomBytes(count)),
    setTimer: setRealTimer,
    // Node runs its check phase, where immediates run, right after it has read all input that is ready.
    defer(callback) {
      setImmediate(callback);
    },
    files: nodeFiles(),
    network: nodeNetwork(),
    diagnostics: { channel: (name) => channel(name) },
  };
}
