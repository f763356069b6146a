// The functions of Node that give something else each time: real clocks, timers and random numbers. Replaces
// them by ones that tell the calls of watched code from all other calls, which get what they always get.
//
// An `AsyncLocalStorage` tells the two apart, so code of a watched function counts after an `await` too. What
// can't be seen: a function that a module took from its object before (`const { now } = Date`), and
// `getRandomValues` of `node:crypto`, which can't be replaced; that of the global `crypto` is.
import { AsyncLocalStorage } from "node:async_hooks";
import nodeCrypto from "node:crypto";
import { syncBuiltinESMExports } from "node:module";
import timersPromises from "node:timers/promises";

/** Called with the name of the function that watched code calls, as programs write it; may throw. */
export type Watcher = (shown: string) => void;

/** Who watches the code that runs now; undefined: nobody does. */
const currentWatcher = new AsyncLocalStorage<Watcher>();

/** Runs code, and tells `watcher` when it calls one of the functions while they are replaced. */
export function runWatched<T>(watcher: Watcher, run: () => T): T {
  return currentWatcher.run(watcher, run);
}

/** A function that gives something else each time, and the object that it is called on. */
interface Source {
  readonly holder: object;
  readonly name: string;
  /** How programs write it. */
  readonly shown: string;
}

const SOURCES: readonly Source[] = [
  { holder: Date, name: "now", shown: "Date.now()" },
  { holder: performance, name: "now", shown: "performance.now()" },
  { holder: process, name: "hrtime", shown: "process.hrtime()" },
  { holder: process.hrtime, name: "bigint", shown: "process.hrtime.bigint()" },
  { holder: Math, name: "random", shown: "Math.random()" },
  { holder: crypto, name: "randomUUID", shown: "crypto.randomUUID()" },
  { holder: crypto, name: "getRandomValues", shown: "crypto.getRandomValues()" },
  ...["randomUUID", "randomBytes", "randomInt", "randomFill", "randomFillSync"].map((name) => ({
    holder: nodeCrypto,
    name,
    shown: `crypto.${name}()`,
  })),
  { holder: globalThis, name: "setTimeout", shown: "setTimeout()" },
  { holder: globalThis, name: "setInterval", shown: "setInterval()" },
  { holder: timersPromises, name: "setTimeout", shown: "setTimeout()" },
];

/** How many callers want the functions replaced; they are while there is one. */
let users = 0;
let putBack: () => void = () => undefined;

/**
 * Replaces the functions for one caller; the returned function ends that. What they were before is put back
 * when the last caller has ended it.
 */
export function replaceRealSources(): () => void {
  if (users === 0) putBack = replaceSources();
  users += 1;
  let isReplaced = true;
  return () => {
    if (!isReplaced) return;
    isReplaced = false;
    users -= 1;
    if (users === 0) putBack();
  };
}

function replaceSources(): () => void {
  const undo = SOURCES.map(({ holder, name, shown }) => {
    const original: unknown = Reflect.get(holder, name);
    if (typeof original !== "function") return () => undefined;
    return replace(holder, name, trapped(original, shown));
  });
  const { Date: RealDate } = globalThis;
  const dateTrap = new Proxy(RealDate, {
    // A date that is made from a number or a text is the same everywhere.
    construct(target, args: unknown[], newTarget) {
      if (args.length === 0) tell("new Date()");
      return Reflect.construct(target, args, newTarget) as Date;
    },
    apply(target, thisArgument, args: unknown[]) {
      tell("Date()");
      return Reflect.apply(target, thisArgument, args) as string;
    },
  });
  undo.push(replace(globalThis, "Date", dateTrap), replace(RealDate.prototype, "constructor", dateTrap));
  // `import { randomUUID } from "node:crypto"` sees the change after this.
  syncBuiltinESMExports();
  return () => {
    for (const each of undo.reverse()) each();
    syncBuiltinESMExports();
  };
}

function trapped<F extends object>(original: F, shown: string): F {
  return new Proxy(original, {
    apply(target, thisArgument, args: unknown[]) {
      tell(shown);
      return Reflect.apply(target as (...all: unknown[]) => unknown, thisArgument, args);
    },
  });
}

/** Gives an object another property, and returns what puts the former state back, unless it changed since. */
function replace(holder: object, name: string, value: unknown): () => void {
  const before = Object.getOwnPropertyDescriptor(holder, name);
  Object.defineProperty(holder, name, {
    value,
    writable: true,
    configurable: true,
    enumerable: before?.enumerable ?? false,
  });
  return () => {
    if (Reflect.get(holder, name) !== value) return;
    if (before === undefined) Reflect.deleteProperty(holder, name);
    else Object.defineProperty(holder, name, before);
  };
}

function tell(shown: string): void {
  currentWatcher.getStore()?.(shown);
}
