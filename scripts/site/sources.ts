// The pages of the site that show sources: each file that a page links to, and each folder with its files.
import { execFileSync } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";

import { SOURCE } from "./pages.ts";

/**
 * Replaces the links to sources in the site's pages (`html`, by file name relative to the site), and writes
 * the pages that they lead to.
 */
export async function writeSources(root: string, site: string, html: Map<string, string>): Promise<void> {
  const tracked = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], {
    cwd: root,
    encoding: "utf8",
  }).split("\n");
  const wanted = new Set<string>();
  for (const [page, text] of html) {
    if (!text.includes(SOURCE)) continue;
    const replaced = text.replaceAll(new RegExp(`"${SOURCE}([^"#]*)`, "g"), (_, target: string) => {
      wanted.add(target);
      return `"${path.posix.relative(path.posix.dirname(page), pageOf(target))}`;
    });
    html.set(page, replaced);
    await writeFile(path.join(site, page), replaced);
  }
  // Grows while folders are written: each leads to the files and folders in it.
  for (const target of wanted) {
    const inside = tracked.filter((file) => file.startsWith(`${target}/`));
    const body = inside.length > 0 ? listing(target, inside, wanted) : await sourceText(root, target);
    const page = pageOf(target);
    const text = withFrame(target, path.posix.relative(path.posix.dirname(page), "index.html"), body);
    html.set(page, text);
    await mkdir(path.dirname(path.join(site, page)), { recursive: true });
    await writeFile(path.join(site, page), text);
  }
}

function pageOf(target: string): string {
  return `source/${target}.html`;
}

function listing(folder: string, files: readonly string[], wanted: Set<string>): string {
  const names = [...new Set(files.map((file) => file.slice(folder.length + 1).split("/")[0] ?? ""))].sort();
  const items = names.map((name) => {
    wanted.add(`${folder}/${name}`);
    const href = path.posix.relative(path.posix.dirname(pageOf(folder)), pageOf(`${folder}/${name}`));
    return `<li><a href="${href}">${escape(name)}</a></li>`;
  });
  return `<ul>${items.join("\n")}</ul>`;
}

async function sourceText(root: string, file: string): Promise<string> {
  return `<pre>${escape(await readFile(path.join(root, file), "utf8"))}</pre>`;
}

function withFrame(title: string, start: string, body: string): string {
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${escape(title)} | Keelson</title>
<style>:root { color-scheme: light dark; } body { font-family: sans-serif; margin: 1rem; }</style></head>
<body><p><a href="${start}">Keelson</a></p><h1>${escape(title)}</h1>
${body}
</body></html>
`;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}
