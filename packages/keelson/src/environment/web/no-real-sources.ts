// What stands in for ../node/real-sources.ts where the export condition "browser" holds. Nothing is watched:
// a browser has no `AsyncLocalStorage`, without which the calls of watched code can't be told from others
// after an `await`.

/** See ../node/real-sources.ts. */
export type Watcher = (shown: string) => void;

/** Runs the code. `_watcher` is never told anything. */
export function runWatched<T>(_watcher: Watcher, run: () => T): T {
  return run();
}

/** Replaces nothing. */
export function replaceRealSources(): () => void {
  return () => undefined;
}
