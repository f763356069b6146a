// The pages of the site that are Markdown files of the repository: which there are, in which order, and how
// they are changed for the site. What is linked and isn't a page (sources, folders) becomes a page of
// scripts/site/sources.ts.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";

import { headingAnchor } from "../lib/heading-anchor.ts";

/** A Markdown file, relative to the repository, with the pages below it in the menu. */
interface Page {
  readonly file: string;
  readonly below: readonly string[];
  /** Its name in the menu. Default: its heading, up to a colon. */
  readonly title?: string;
}

/** Stands for the site's address of a source until the page that links to it is written. */
export const SOURCE = "https://source.invalid/";
export const START = "README.md";

const GUIDE = "docs/guide/README.md";
const EXAMPLES = "examples/README.md";
const INDEX = "docs/README.md";
const DESIGN = "docs/design/README.md";

/**
 * The menu. The order of the guide and of the design notes is that of the links in their README. A document
 * that is not named here is below the examples, if it is one of theirs, or below the index of all documents.
 */
async function menu(root: string): Promise<Page[]> {
  const pages = await namedPages(root);
  const named = new Set([START, ...pages.flatMap(({ file, below }) => [file, ...below])]);
  const others = documents(root).filter((file) => !named.has(file));
  const belowOf = new Map([
    [EXAMPLES, others.filter((file) => file.startsWith("examples/"))],
    [INDEX, others.filter((file) => !file.startsWith("examples/"))],
  ]);
  return pages.map((page) => ({ ...page, below: [...page.below, ...(belowOf.get(page.file) ?? [])] }));
}

/** The Markdown files of the repository, but for those that only the host of the repository reads. */
function documents(root: string): string[] {
  return execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard", "*.md"], {
    cwd: root,
    encoding: "utf8",
  })
    .split("\n")
    .filter((file) => file !== "" && !file.startsWith(".") && existsSync(path.join(root, file)));
}

async function namedPages(root: string): Promise<Page[]> {
  return [
    { file: GUIDE, below: await linkedPages(root, GUIDE) },
    { file: EXAMPLES, below: [] },
    { file: "docs/errors.md", below: [] },
    { file: "packages/kv/README.md", below: ["docs/operations.md"], title: "The key-value server" },
    { file: "SECURITY.md", below: [] },
    { file: "docs/compatibility.md", below: [] },
    { file: "CHANGELOG.md", below: [] },
    {
      file: "ARCHITECTURE.md",
      below: [DESIGN, ...(await linkedPages(root, DESIGN)), "packages/keelson/src/core/plays/README.md"],
    },
    { file: "docs/glossary.md", below: [] },
    {
      file: "docs/testing.md",
      below: [
        "docs/simulator.md",
        "docs/simulator-pairs.md",
        "docs/zoo.md",
        "docs/explore.md",
        "docs/mutation.md",
        "docs/fuzz.md",
        "docs/torture.md",
        "docs/hosts.md",
        "docs/histories.md",
        "docs/performance.md",
      ],
    },
    { file: "CONTRIBUTING.md", below: ["docs/first-change.md"] },
    { file: INDEX, below: [] },
  ];
}

/** The pages of the same folder that a page links to, in the order of its links. */
async function linkedPages(root: string, file: string): Promise<string[]> {
  const text = await readFile(path.join(root, file), "utf8");
  const names = [...text.matchAll(/\]\(([\w-]+\.md)\)/g)].map(([, name = ""]) => name);
  return [...new Set(names)].map((name) => path.join(path.dirname(file), name));
}

/** Writes the pages into `folder`, as TypeDoc takes them, and returns those of the menu's first level. */
export async function stagePages(root: string, folder: string): Promise<string[]> {
  const pages = await menu(root);
  const files = new Set([START, ...pages.flatMap(({ file, below }) => [file, ...below])]);
  const listed = new Map(pages.map((page) => [page.file, page]));
  for (const file of files) {
    const text = await readFile(path.join(root, file), "utf8");
    const staged = path.join(folder, file);
    await mkdir(path.dirname(staged), { recursive: true });
    const body = await withLinks(root, file, text, files);
    const page = listed.get(file) ?? { file, below: [] };
    await writeFile(staged, file === START ? body : withFrontMatter(page, body));
  }
  return pages.map(({ file }) => path.join(folder, file));
}

/** Tells TypeDoc the page's name in the menu, and the pages below it. */
function withFrontMatter({ file, below, title }: Page, text: string): string {
  const [, heading] = /^# (.*)$/m.exec(text) ?? [];
  if (heading === undefined) throw new Error(`${file} has no heading`);
  const name = title ?? heading.replaceAll(/<[^>]*>|`/g, "").split(":")[0];
  const head = [`title: ${JSON.stringify(name)}`, "group: Documents"];
  if (below.length > 0) head.push("children:");
  for (const child of below) head.push(`  - ${JSON.stringify(path.relative(path.dirname(file), child))}`);
  return `---\n${head.join("\n")}\n---\n\n${text}`;
}

/** Links to pages stay as they are. Links to anything else in the repository lead to a page of its source. */
export async function withLinks(
  root: string,
  file: string,
  text: string,
  pages: ReadonlySet<string>,
): Promise<string> {
  const parts = text.split(/(^```.*?^```$)/ms);
  const changed = parts.map(async (part, at) => {
    if (at % 2 === 1) return part; // a block of code
    const prose = withAnchors(part);
    let result = "";
    let from = 0;
    for (const match of prose.matchAll(/\]\((?![a-z]+:|#)([^)#\s]+)/g)) {
      const target = path.join(path.dirname(file), match[1] ?? "").replace(/\/$/, "");
      if (pages.has(target)) continue;
      if (/\.md$/.test(target)) throw new Error(`${file} links to ${target}, which is no page of the site`);
      await stat(path.join(root, target));
      result += `${prose.slice(from, match.index)}](${SOURCE}${target}`;
      from = match.index + match[0].length;
    }
    return result + prose.slice(from);
  });
  return (await Promise.all(changed)).join("");
}

/**
 * TypeDoc leaves code in headings out of their anchors. So these headings get the anchor that they have on
 * GitHub.
 */
function withAnchors(text: string): string {
  return text.replaceAll(
    /^(#+ )(?!.*<a id=)(.*`.*)$/gm,
    (_, marks: string, heading: string) => `${marks}<a id="${headingAnchor(heading)}"></a>${heading}`,
  );
}
