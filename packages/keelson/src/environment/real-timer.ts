// Timers by `setTimeout`, which Node and browsers have in common.
import type { Timer } from "./environment.ts";

/** The longest delay of `setTimeout`, 24.8 days. It treats a longer one as 0 or 1 ms. */
const TIMER_DELAY_MS_MAX = 2 ** 31 - 1;

/** As `Environment.setTimer`. */
export function setRealTimer(delayMs: number, callback: () => void): Timer {
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
  let part = setRealTimer(TIMER_DELAY_MS_MAX, () => {
    part = setRealTimer(delayMs - TIMER_DELAY_MS_MAX, callback);
  });
  return {
    cancel() {
      part.cancel();
    },
  };
}
