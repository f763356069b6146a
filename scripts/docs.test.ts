// Checks the documents: a name in backticks beside a link to a source file, as in "`propose` in [...](...)" or
// "[...](...) `propose`", must stand in that file, and the glossary must be in order.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";

const root = path.join(import.meta.dirname, "..");

/** `name` in [`file`](path) and [`file`](path) `name`; also "`one` and `two` in [...]". */
const LINK = String.raw`\[\`[^\]]+\`\]\(([^)#]+\.ts)\)`;
const NAME = String.raw`\`(#?[A-Za-z]\w*)\``;
const BEFORE = new RegExp(`(?:${NAME},? and )?${NAME} in ${LINK}`, "g");
const AFTER = new RegExp(`${LINK} ${NAME}`, "g");

function read(file: string): string {
  return readFileSync(path.join(root, file), "utf8");
}

function documents(): string[] {
  return execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard", "*.md"], {
    cwd: root,
    encoding: "utf8",
  })
    .split("\n")
    .filter((file) => file !== "" && existsSync(path.join(root, file)));
}

interface Mention {
  readonly document: string;
  readonly file: string;
  readonly name: string;
}

function mentionsIn(document: string): Mention[] {
  const text = read(document);
  const before = [...text.matchAll(BEFORE)].flatMap(([, other, name = "", file = ""]) =>
    [other, name].flatMap((each) => (each === undefined ? [] : [{ name: each, file }])),
  );
  const after = [...text.matchAll(AFTER)].map(([, file = "", name = ""]) => ({ name, file }));
  return [...before, ...after].map(({ name, file }) => ({
    document,
    name,
    file: path.join(path.dirname(document), file),
  }));
}

describe("the documents", () => {
  it("name only functions and fields that the linked files contain", () => {
    const mentions = documents().flatMap(mentionsIn);
    const wrong = mentions.filter(({ file, name }) => {
      const word = new RegExp(String.raw`(^|[^\w#])${name}(\W|$)`, "m");
      return !existsSync(path.join(root, file)) || !word.test(read(file));
    });
    expect(mentions.length).toBeGreaterThan(50);
    expect(wrong.map(({ document, file, name }) => `${document}: ${name} in ${file}`)).toEqual([]);
  });

  it("list the glossary's terms alphabetically, and each once", () => {
    const groups = read("docs/glossary.md").split(/^## /m).slice(1);
    const terms = groups.map((group) =>
      [...group.matchAll(/^- \*\*([^*]+)\*\*/gm)].map(([, term = ""]) => term.toLowerCase()),
    );
    expect(terms).toEqual(terms.map((group) => [...group].sort()));
    const all = terms.flat();
    expect(all.length).toBeGreaterThan(100);
    expect(all.filter((term, at) => all.indexOf(term) !== at)).toEqual([]);
  });
});
