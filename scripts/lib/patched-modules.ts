import { readFileSync } from "node:fs";
import { registerHooks } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** One change of a source file: `from` must stand there exactly once. */
export interface SourceChange {
  /** Under the root that `patchOnLoad` is given. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

/** A name, and the changes that make a module graph of its own under it. */
export interface SourcePatch {
  readonly name: string;
  readonly changes: readonly SourceChange[];
}

/** The file's text with its changes made; throws if one of them does not apply. */
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
 * From now on in this thread, a module that is imported with `?QUERY=NAME` has the patch of that name, and
 * so have all modules that it imports. Patched modules live beside the real ones; no file is changed.
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
