// Node's clock, randomness, files and network: the environment of production.
import { randomBytes } from "node:crypto";
import { channel } from "node:diagnostics_channel";
import type { Environment, Timer } from "../environment.ts";
import { startEnvironmentLog } from "./environment-log.ts";
import { nodeFiles } from "./node-files.ts";
import { nodeNetwork } from "./node-network.ts";

/** The longest delay of `setTimeout`, 24.8 days. It treats a longer one as 1 ms. */
const TIMER_DELAY_MS_MAX = 2 ** 31 - 1;

/** The environment that production runs on. */
export function nodeEnvironment(): Environment {
  startEnvironmentLog();
  return {
    now: () => performance.now(),
    wallClock: () => Date.now(),
    random: () => Math.random(),
    randomBytes: (count) => new Uint8Array(randomBytes(count)),
    setTimer: setNodeTimer,
    // Node runs its check phase, where immediates run, right after it has read all input that is ready.
    defer(callback) {
      setImmediate(callback);
    },
    files: nodeFiles(),
    network: nodeNetwork(),
    diagnostics: { channel: (name) => channel(name) },
  };
}

function setNodeTimer(delayMs: number, callback: () => void): Timer {
  if (delayMs > TIMER_DELAY_MS_MAX) return setLongTimer(delayMs, callback);
  // Node cuts both the event loop's clock and the delay to whole milliseconds. Because the delay is rounded
  // up here, the timer is early by less than a millisecond.
  const timer = setTimeout(callback, Math.max(0, Math.ceil(delayMs)));
  return {
    cancel() {
      clearTimeout(timer);
    },
  };
}

/** A delay that `setTimeout` doesn't take is waited for in several parts. */
function setLongTimer(delayMs: number, callback: () => void): Timer {
  let part = setNodeTimer(TIMER_DELAY_MS_MAX, () => {
    part = setNodeTimer(delayMs - TIMER_DELAY_MS_MAX, callback);
  });
  return {
    cancel() {
      part.cancel();
    },
  };
}
