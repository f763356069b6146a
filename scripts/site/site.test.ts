import { mkdtemp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, it } from "vitest";

import { deadLinks } from "./links.ts";
import { SOURCE, withLinks } from "./pages.ts";
import { writeSources } from "./sources.ts";

const root = path.join(import.meta.dirname, "..", "..");

describe("a link of the site", () => {
  it("is reported if its page or its anchor doesn't exist", () => {
    const html = new Map([
      ["index.html", '<a href="a/b.html">1</a> <a class="x" href="a/none.html">2</a> <a href="#here">3</a>'],
      ["a/b.html", '<h2 id="up &amp; down">x</h2> <a href="../index.html#none">4</a> <a href="https://a.example/">5</a>'],
      ["c.html", '<a href="a/b.html#up%20%26%20down">6</a>'],
    ]);
    expect(deadLinks("/no-such-folder", html)).toEqual([
      "index.html links to a/none.html, which doesn't exist",
      "index.html links to #here in index.html, which doesn't exist",
      "a/b.html links to #none in index.html, which doesn't exist",
    ]);
  });

  it("leads to another page, or to a page of the source, and stays as it is in a block of code", async () => {
    const text = "[a](b.md#x) [c](../README.md) [d](../examples/bank.ts) [e](#here) [f](https://a.example/)\n";
    const block = "```md\n[g](../examples/bank.ts)\n```\n";
    const pages = new Set(["docs/b.md", "README.md"]);
    expect(await withLinks(root, "docs/a.md", text + block, pages)).toBe(
      text.replace("../examples/bank.ts", `${SOURCE}examples/bank.ts`) + block,
    );
  });

  it("to a heading with code works as on GitHub", async () => {
    const text = "## Time in `apply`\n\n[a](#time-in-apply)\n";
    expect(await withLinks(root, "docs/a.md", text, new Set())).toBe(
      text.replace("Time", '<a id="time-in-apply"></a>Time'),
    );
  });

  it.each([
    ["a document that is no page of the site", "[a](b.md)", "is no page of the site"],
    ["nothing", "[a](none.ts)", "ENOENT"],
  ])("is refused if it leads to %s", async (_, text, message) => {
    await expect(withLinks(root, "docs/a.md", text, new Set())).rejects.toThrow(message);
  });

  it("to a source or a folder leads to a page that shows it, and from a folder to what is in it", async () => {
    const site = await mkdtemp(path.join(tmpdir(), "keelson-site-"));
    try {
      await mkdir(path.join(site, "documents"));
      const link = `<a href="${SOURCE}examples/test">tests</a>`;
      const html = new Map([["documents/a.html", link]]);
      await writeFile(path.join(site, "documents/a.html"), link);
      await writeFile(path.join(site, "index.html"), "");
      await writeSources(root, site, html);
      expect(await readFile(path.join(site, "documents/a.html"), "utf8")).toBe(
        '<a href="../source/examples/test.html">tests</a>',
      );
      expect(html.get("source/examples/test.html")).toContain('href="test/bank.process.test.ts.html"');
      expect(html.get("source/examples/test/bank.process.test.ts.html")).toContain("import { expect, it }");
      expect(deadLinks(site, html)).toEqual([]);
    } finally {
      await rm(site, { recursive: true, force: true });
    }
  });
});
