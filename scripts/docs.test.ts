// Checks the documents: a name in backticks beside a link to a source file, as in "`propose` in [...](...)"
// or "[...](...) `propose`", must stand in that file; a link's anchor must exist; a quote from examples/ must
// be as it is there; and the glossary must be in order.
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { headingAnchor } from "./lib/heading-anchor.ts";
import { builtInNames, codeNamedIn, namesIn } from "./lib/named-code.ts";
import { checksNamedIn, testsNamedIn, titlesIn } from "./lib/named-tests.ts";

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

/** Documents that name code of other programs, or of earlier versions of ours. */
const ABOUT_OTHERS = new Set([
  "CHANGELOG.md",
  "docs/design/pitfalls.md",
  "docs/glossary.md",
  "docs/mutation.md",
  "docs/zoo.md",
]);
/** Access modes of a volume in Kubernetes. */
const OTHERS_NAMES = new Set(["ReadWriteMany", "ReadWriteOncePod"]);

/** The anchors of a document: those that GitHub makes of its headings, and those that it sets itself. */
function anchorsOf(document: string): Set<string> {
  const text = read(document).replaceAll(/^```.*?^```$/gms, "");
  const anchors = new Set([...text.matchAll(/<a id="([^"]+)">/g)].map(([, id = ""]) => id));
  for (const [, heading = ""] of text.matchAll(/^#+ (.*)$/gm)) {
    const slug = headingAnchor(heading);
    let name = slug;
    for (let again = 1; anchors.has(name); again++) name = `${slug}-${again}`;
    anchors.add(name);
  }
  return anchors;
}

/** The links of a document to an anchor, in the same document or in another one. */
function anchorLinksOf(document: string): { readonly target: string; readonly anchor: string }[] {
  return [...read(document).matchAll(/\]\((?!https?:|mailto:)([^)#\s]*)#([^)\s]+)\)/g)].map(
    ([, file = "", anchor = ""]) => ({
      target: file === "" ? document : path.join(path.dirname(document), file),
      anchor,
    }),
  );
}

/**
 * A block of TypeScript that quotes a file of examples/: its first line is a comment with the file's path.
 */
const QUOTE = /^```ts\n\/\/ (examples\/[\w-]+\.ts)\n(.*?)^```$/gms;
/** A line of a quote that stands for lines which are left out. */
const LEFT_OUT = /^ *\/\/ \.\.\.\n/m;

/** The lines without the indentation that they share. */
function dedent(text: string): string {
  const lines = text.split("\n");
  const indents = lines.filter((line) => line.trim() !== "").map((line) => line.search(/\S/));
  return lines
    .map((line) => line.slice(Math.min(...indents)))
    .join("\n")
    .trim();
}

/** Whether the lines of `part` stand in `source` one after another, perhaps more indented. */
function contains(source: string, part: string): boolean {
  const wanted = dedent(part);
  const length = wanted.split("\n").length;
  const lines = source.split("\n");
  return lines.some((_, at) => dedent(lines.slice(at, at + length).join("\n")) === wanted);
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

  it("name only code that exists", () => {
    const sources = execFileSync(
      "git",
      ["ls-files", "packages/*/src/*.ts", "examples/*.ts", "scripts/*.ts"],
      {
        cwd: root,
        encoding: "utf8",
      },
    ).split("\n");
    const known = builtInNames();
    for (const file of sources.filter((name) => name !== "" && !/\.test\.ts$|\/test\//.test(name))) {
      for (const name of namesIn(read(file))) known.add(name);
    }
    let seen = 0;
    const wrong = documents()
      .filter((page) => !ABOUT_OTHERS.has(page))
      .flatMap((page) => {
        const text = read(page);
        const own = namesIn([...text.matchAll(/^```.*?^```$/gms)].join("\n"));
        const names = [...codeNamedIn(page, text)];
        seen += names.length;
        return names
          .filter((name) => !known.has(name) && !own.has(name) && !OTHERS_NAMES.has(name))
          .map((name) => `${page}: ${name}`);
      });
    expect(seen).toBeGreaterThan(300);
    expect(wrong).toEqual([]);
  });

  it("link only to anchors that exist", () => {
    const links = documents().flatMap((document) =>
      anchorLinksOf(document).map((link) => ({ document, ...link })),
    );
    const dead = links.filter(
      ({ target, anchor }) =>
        target.endsWith(".md") && existsSync(path.join(root, target)) && !anchorsOf(target).has(anchor),
    );
    expect(links.length).toBeGreaterThan(50);
    expect(dead.map(({ document, target, anchor }) => `${document}: ${target}#${anchor}`)).toEqual([]);
  });

  it("name only tests and checks that exist", () => {
    const named = documents().flatMap((document) => testsNamedIn(document, read(document)));
    const titles = new Map(
      [...new Set(named.map(({ file }) => file))].map((file) => [file, titlesIn(root, file)]),
    );
    const missing = named.filter(({ file, title }) => titles.get(file)?.has(title) !== true);
    expect(named.length).toBeGreaterThan(80);
    expect(missing.map(({ document, file, title }) => `${document}: "${title}" in ${file}`)).toEqual([]);
    const checks = [...read("scripts/check.ts").matchAll(/\bname: "([^"]+)"/g)].map(([, name = ""]) => name);
    const unknown = documents().filter((document) =>
      checksNamedIn(read(document)).some((name) => !checks.includes(name)),
    );
    expect(unknown).toEqual([]);
  });

  it("show a test or a check for each feature of the libraries before this one", () => {
    const rows = read("docs/guide/features.md").match(/^\|.*\|$/gm) ?? [];
    const bare = rows.filter(
      (row) =>
        !/^\| -+ \||\| shown by +\|$/.test(row) &&
        testsNamedIn("docs/guide/features.md", row).length + checksNamedIn(row).length === 0,
    );
    // What no test of ours can show: the systems that we don't test on.
    expect(rows.length).toBeGreaterThan(70);
    expect(bare.map((row) => row.split("|")[1]?.trim())).toEqual(["Linux, BSD and Mac; not Windows"]);
  });

  it("list every example", () => {
    const examples = readdirSync(path.join(root, "examples")).filter((name) => name.endsWith(".ts"));
    const list = read("examples/README.md");
    expect(examples.filter((name) => !list.includes(`](${name})`))).toEqual([]);
  });

  it("say first what the reader of a page for users will be able to do", () => {
    const others = ["errors", "operations", "testing", "simulator", "compatibility"].map(
      (name) => `docs/${name}.md`,
    );
    expect(others.filter((name) => !/^# .*\n\nAfter this page you /.test(read(name)))).toEqual([]);
    const pages = documents().filter(
      (name) => name.startsWith("docs/guide/") && !name.endsWith("/README.md"),
    );
    expect(pages.length).toBeGreaterThan(15);
    expect(pages.filter((name) => !/^# .*\n\nAfter this page you /.test(read(name)))).toEqual([]);
    const index = read("docs/guide/README.md");
    expect(pages.filter((name) => !index.includes(`](${path.basename(name)})`))).toEqual([]);
  });

  it("quote the examples as they are", () => {
    const quotes = documents().flatMap((document) =>
      [...read(document).matchAll(QUOTE)].map(([, file = "", text = ""]) => ({ document, file, text })),
    );
    const wrong = quotes.flatMap(({ document, file, text }) =>
      text
        .split(LEFT_OUT)
        .filter((part) => part.trim() !== "" && !contains(read(file), part))
        .map((part) => `${document}: ${file} doesn't contain\n${part}`),
    );
    expect(quotes.length).toBeGreaterThan(3);
    expect(wrong).toEqual([]);
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
