// The names of code that a document has in backticks, and the names that there are.
import fs from "node:fs";

/** The tables whose other columns name code of other libraries, each with the column that names ours. */
const OWN_COLUMN = new Map([
  ["docs/guide/coming-from.md", 1],
  ["docs/guide/features.md", 2],
]);

/**
 * The names in a document's inline code that look like names of code: with a capital after a small letter, as
 * in `changeMembership` and `StateMachine`, or called, as in `close()`. Text and blocks of code are left out.
 */
export function codeNamedIn(document: string, text: string): Set<string> {
  const names = new Set<string>();
  const column = OWN_COLUMN.get(document);
  for (const line of text.replaceAll(/^```.*?^```$/gms, "").split("\n")) {
    const own = column === undefined || !line.startsWith("|") ? line : (line.split("|")[column] ?? "");
    if (column !== undefined && !line.startsWith("|")) continue;
    for (const [, code = ""] of own.matchAll(/(?<!\[)`([^`]+)`/g)) {
      // Commands, paths, texts that are printed: not names.
      if (!/^[A-Za-z_#][\w.#]*(\(.*\))?$/.test(code)) continue;
      for (const [, name = "", called] of code.matchAll(/([A-Za-z]\w*)(\()?/g)) {
        if (/[a-z][A-Z]/.test(name) || called !== undefined) names.add(name);
      }
    }
  }
  return names;
}

/** The names in sources, comments left out. */
export function namesIn(source: string): Set<string> {
  const code = source.replaceAll(/^\s*(\/\/|\/?\*).*$/gm, "");
  return new Set([...code.matchAll(/[A-Za-z_]\w*/g)].map(([name]) => name));
}

/** The names of global objects, of what belongs to them, and of `node:fs`. */
export function builtInNames(): Set<string> {
  const names = new Set([...Object.getOwnPropertyNames(globalThis), ...Object.keys(fs)]);
  for (const name of Object.getOwnPropertyNames(globalThis)) {
    const value: unknown = Reflect.get(globalThis, name);
    for (const object of [value, typeof value === "function" ? (value.prototype as unknown) : null]) {
      if (object === null || object === undefined) continue;
      for (const own of Object.getOwnPropertyNames(object)) names.add(own);
    }
  }
  return names;
}
