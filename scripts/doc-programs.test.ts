import { describe, expect, it } from "vitest";
import { programsIn } from "./doc-programs.ts";

const PROGRAM = '```ts\n// a.ts\nconsole.log("x");\n```\n';
const RUN = "```console\n$ ls\na.ts\n$ node a.ts\nx\ny\n$ node a.ts\nz\n```\n";

describe("the programs of a document", () => {
  it("are blocks that begin with a file name, with what each of their runs prints", () => {
    const excerpt = "```ts\nconst excerpt = 1;\n```\n";
    expect(programsIn("page.md", `# Page\n\n${excerpt}${PROGRAM}\nThen:\n\n${RUN}`)).toEqual([
      { document: "page.md", file: "a.ts", text: '// a.ts\nconsole.log("x");\n', runs: ["x\ny\n", "z\n"] },
    ]);
  });

  it.each([
    ["is never run", PROGRAM, "no block console runs it"],
    ["is missing", RUN, "has no program of that name"],
    ["is there twice", PROGRAM + PROGRAM + RUN, "two programs named a.ts"],
  ])("are refused if one %s", (_, markdown, message) => {
    expect(() => programsIn("page.md", markdown)).toThrow(message);
  });
});
