// Checks the links of the built site: each leads to a file that is there, and to an anchor in it.
import { existsSync } from "node:fs";
import path from "node:path";

/** What is wrong with the links in `html`, the site's pages by file name relative to `site`. */
export function deadLinks(site: string, html: ReadonlyMap<string, string>): string[] {
  const anchors = new Map<string, Set<string>>();
  const dead: string[] = [];
  for (const [page, text] of html) {
    for (const [, href = ""] of text.matchAll(/<a\b[^>]*?\shref="([^"]*)"/g)) {
      if (/^[a-z]+:/.test(href)) continue;
      const [file = "", anchor] = href.replaceAll("&amp;", "&").split("#").map(decodeURIComponent);
      const target = file === "" ? page : path.posix.join(path.posix.dirname(page), file);
      const found = html.get(target);
      if (found === undefined && !existsSync(path.join(site, target))) {
        dead.push(`${page} links to ${target}, which doesn't exist`);
      } else if (found !== undefined && anchor !== undefined && anchor !== "") {
        if (!anchors.has(target)) anchors.set(target, anchorsOf(found));
        if (anchors.get(target)?.has(anchor) !== true) {
          dead.push(`${page} links to #${anchor} in ${target}, which doesn't exist`);
        }
      }
    }
  }
  return dead;
}

function anchorsOf(text: string): Set<string> {
  return new Set([...text.matchAll(/\sid="([^"]*)"/g)].map(([, id = ""]) => id.replaceAll("&amp;", "&")));
}
