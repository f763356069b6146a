/**
 * `node without-node.ts PROGRAM`: imports a program after everything that browsers don't have is gone from
 * the global object. A use of `Buffer`, `process` or `setImmediate` fails in it as it would in a page.
 */
import { pathToFileURL } from "node:url";
import { runInNewContext } from "node:vm";

/** What the web's standards define, besides JavaScript's own globals, and the library may use. */
const OF_THE_WEB = [
  ...[
    "AbortController",
    "AbortSignal",
    "DOMException",
    "Event",
    "EventTarget",
    "MessageChannel",
    "MessageEvent",
  ],
  ...["MessagePort", "TextDecoder", "TextEncoder", "clearInterval", "clearTimeout", "console", "crypto"],
  ...["performance", "queueMicrotask", "setInterval", "setTimeout", "structuredClone"],
];

const { process } = globalThis;
const ofJavaScript = runInNewContext("Object.getOwnPropertyNames(globalThis)") as string[];
const kept = new Set([...OF_THE_WEB, ...ofJavaScript]);
// Node loads some of the web's classes when they are used for the first time, which needs its own globals.
for (const name of kept) Reflect.get(globalThis, name);
for (const name of Object.getOwnPropertyNames(globalThis)) {
  if (!kept.has(name)) Reflect.deleteProperty(globalThis, name);
}
for (const name of ["Buffer", "process", "global", "setImmediate", "require"]) {
  if (name in globalThis) throw new Error(`${name} is still there`);
}

const [program = ""] = process.argv.slice(2);
await import(pathToFileURL(program).href);
// The channel of `webEnvironment` would keep this process running; a page is closed by its user.
process.exit(0);
