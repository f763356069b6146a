import path from "node:path";
import ts from "typescript";
import { describe, expect, it } from "vitest";

import { patchedSource } from "../lib/patched-modules.ts";
import { changesOf } from "./bug.ts";
import { BUGS, patchOf } from "./bugs.ts";

const SOURCE = path.join(import.meta.dirname, "../../packages/keelson/src");

function faultsOf(source: string): string[] {
  const { diagnostics = [] } = ts.transpileModule(source, {
    reportDiagnostics: true,
    compilerOptions: {
      target: ts.ScriptTarget.ES2024,
      module: ts.ModuleKind.ESNext,
      erasableSyntaxOnly: true,
    },
  });
  return diagnostics.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, " "));
}

describe("the bugs of the zoo", () => {
  it("have codes of their own, and are at least 90", () => {
    expect(new Set(BUGS.map(({ code }) => code)).size).toBe(BUGS.length);
    expect(BUGS.length).toBeGreaterThanOrEqual(90);
  });

  it.each(BUGS.map((bug) => [bug.code, bug] as const))("%s still applies to the source", (_, bug) => {
    const files = new Set(changesOf(bug).map(({ file }) => file));
    for (const file of files) expect(faultsOf(patchedSource(SOURCE, file, patchOf(bug)))).toEqual([]);
  });

  it("are refused if the source has no such text, or the patch isn't valid TypeScript", () => {
    const gone = { name: "gone", changes: [{ file: "core/quorum.ts", from: "no such text", to: "" }] };
    expect(() => patchedSource(SOURCE, "core/quorum.ts", gone)).toThrow("stands 0 times");
    expect(faultsOf("const = 1;")).not.toEqual([]);
  });
});
