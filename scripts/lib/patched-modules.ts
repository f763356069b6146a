import { readFileSync } from "node:fs";
import { registerHooks } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** One change of a source file: `from`, which must occur exactly once, is replaced by `to`. */
export interface SourceChange {
  /** The file's path under the root that is passed to `patchOnLoad`. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

/** Changes with a name, under which the changed modules are loaded. */
export interface SourcePatch {
  readonly name: string;
  readonly changes: readonly SourceChange[];
}

/** The file's text after its changes. Throws if one of them doesn't apply. */
export function patchedSource(root: string, file: string, { name, changes }: SourcePatch): string {
  let source = readFileSync(path.join(root, file), "utf8");
  for (const { from, to } of changes.filter((change) => change.file === file)) {
    const parts = source.split(from);
    if (parts.length !== 2) {
      throw new Error(`${name}: its text stands ${parts.length - 1} times in ${file}, and not once: ${from}`);
    }
    source = parts.join(to);
  }
  return source;
}

/**
 * From now on, and in this thread only, a module that is imported with `?QUERY=NAME` is loaded with the patch
 * of that name, and so are all modules that it imports. The unpatched modules stay loaded beside them, and no
 * file is changed.
 */
export function patchOnLoad(root: string, query: string, patches: readonly SourcePatch[]): void {
  registerHooks({
    resolve(specifier, context, next) {
      const found = next(specifier, context);
      const parent =
        context.parentURL === undefined ? null : new URL(context.parentURL).searchParams.get(query);
      const url = new URL(found.url);
      if (parent === null || url.protocol !== "file:" || url.searchParams.has(query)) return found;
      url.searchParams.set(query, parent);
      return { ...found, url: url.href };
    },
    load(url, context, next) {
      const name = url.startsWith("file:") ? new URL(url).searchParams.get(query) : null;
      const patch = name === null ? undefined : patches.find((one) => one.name === name);
      if (patch === undefined) return next(url, context);
      const file = path.relative(root, fileURLToPath(url));
      if (!patch.changes.some((change) => change.file === file)) return next(url, context);
      return { ...next(url, context), source: patchedSource(root, file, patch) };
    },
  });
}
