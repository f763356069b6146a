// The house rules that a machine can check. Each failure names the file and says what to do.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import ts from "typescript";
import { describe, expect, it } from "vitest";

const root = path.join(import.meta.dirname, "..");
const LINES_MAX = 700;
/** Characters in a line of a comment, as in a line of code (prettier's `printWidth`). */
const COMMENT_LINE_MAX = 110;

/** Files that may be longer, each with the reason. */
const LONG_FILES: Readonly<Record<string, string>> = {};

/** Files as git knows them: tracked, or new and not ignored. */
function files(): string[] {
  return execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], {
    cwd: root,
    encoding: "utf8",
  })
    .split("\n")
    .filter((name) => name !== "" && existsSync(path.join(root, name)));
}

function read(name: string): string {
  return readFileSync(path.join(root, name), "utf8");
}

function linesOf(name: string): string[] {
  return read(name).split("\n");
}

const FILES = files();
const CODE = FILES.filter((name) => /\.(ts|mjs)$/.test(name));
const TESTS = CODE.filter((name) => name.endsWith(".test.ts"));

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly exports?: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly scripts?: Readonly<Record<string, string>>;
}

function manifest(folder: string): Manifest {
  return JSON.parse(read(path.join(folder, "package.json"))) as Manifest;
}

/** The source files behind a package's exports, by export name. */
function entries(folder: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const [name, target] of Object.entries(manifest(folder).exports ?? {})) {
    if (typeof target !== "string") found.set(name, path.join(folder, target["source"] ?? ""));
  }
  return found;
}

describe("files", () => {
  it("are named in kebab-case", () => {
    const odd = CODE.map((name) => path.basename(name)).filter(
      (name) => !/^\.?[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+(-[a-z0-9]+)*)*\.(ts|mjs)$/.test(name),
    );
    expect(odd).toEqual([]);
  });

  it("are not longer than the limit", () => {
    const long = CODE.filter((name) => linesOf(name).length > LINES_MAX && !(name in LONG_FILES));
    expect(long, `over ${LINES_MAX} lines: split them, or give the reason in LONG_FILES`).toEqual([]);
  });

  it("are listed as long only if they are", () => {
    const short = Object.keys(LONG_FILES).filter(
      (name) => !FILES.includes(name) || linesOf(name).length <= LINES_MAX,
    );
    expect(short).toEqual([]);
  });

  it("have no longer lines in comments than in code", () => {
    // Tables and code samples can't be broken; a long address can't either.
    const unbreakable = /^\s*\* (\||const |```)|https?:\/\//;
    const long = CODE.flatMap((name) =>
      linesOf(name)
        .map((line, at) => ({ line, where: `${name}:${String(at + 1)}` }))
        .filter(({ line }) => /^\s*(\/\*|\*|\/\/)/.test(line) && !unbreakable.test(line))
        .filter(({ line }) => line.length > COMMENT_LINE_MAX)
        .map(({ where }) => where),
    );
    expect(long, `over ${COMMENT_LINE_MAX} characters: break these lines`).toEqual([]);
  });

  it("contain no path of a developer's machine", () => {
    const text = FILES.filter((name) => !/\.(png|ico|woff2)$/.test(name));
    expect(text.filter((name) => read(name).includes(root + path.sep))).toEqual([]);
  });

  it("contain no marks of unfinished work", () => {
    // Concatenated, so that this file doesn't match itself.
    const marks = new RegExp(["TO" + "DO", "FIX" + "ME", "X" + "XX"].join("|"));
    const found = CODE.filter((name) => marks.test(read(name)));
    expect(found).toEqual([]);
  });
});

describe("tests", () => {
  it("all run: none is skipped or singled out", () => {
    const call =
      /\b(describe|it|test)\.(only|skip|todo|fails|skipIf|runIf)\b|\b(xit|xdescribe|fit|fdescribe)\(/;
    const found = TESTS.filter((name) => name !== "scripts/tidy.test.ts" && call.test(read(name)));
    expect(found).toEqual([]);
  });

  it("each assert something", () => {
    // Suites that are defined in other files (`describeLogStore`, `transportCases`) contain their own
    // assertions. `expectTypeOf` asserts at compile time. The tests of the reference model call `allowed` and
    // `forbidden` (testing/model/test/nodes.ts).
    const asserts = /\b(expect|expectTypeOf|assert|forbidden|describe[A-Z]\w+|\w+Cases)\b/;
    const found = TESTS.filter((name) => !asserts.test(read(name)));
    expect(found).toEqual([]);
  });
});

describe("the packages", () => {
  const folders = ["packages/keelson", "packages/kv"];

  it.each(folders)("%s exports files that exist", (folder) => {
    const missing = [...entries(folder)].filter(([, file]) => !existsSync(path.join(root, file)));
    expect(missing).toEqual([]);
    expect(entries(folder).size).toBeGreaterThan(0);
  });

  it.each(folders)("%s builds each export where package.json says", (folder) => {
    for (const target of Object.values(manifest(folder).exports ?? {})) {
      if (typeof target === "string") continue;
      const built = target["source"]?.replace("./src/", "./dist/");
      expect(target["default"]).toBe(built?.replace(/\.ts$/, ".js"));
      expect(target["types"]).toBe(built?.replace(/\.ts$/, ".d.ts"));
    }
  });

  it.each(folders)("%s carries the license", (folder) => {
    expect(read(path.join(folder, "LICENSE"))).toBe(read("LICENSE"));
  });

  it("keelson needs nothing at run time", () => {
    expect(manifest("packages/keelson").dependencies ?? {}).toEqual({});
  });
});

describe("the documents", () => {
  it("ARCHITECTURE.md names every source folder", () => {
    const architecture = read("ARCHITECTURE.md");
    const folders = new Set(
      CODE.filter((name) => /^packages\/[^/]+\/src\//.test(name) && !name.includes("/test/")).map((name) =>
        path.dirname(name),
      ),
    );
    const unnamed = [...folders].filter(
      (folder) => !architecture.includes(folder.replace(/^packages\//, "")),
    );
    expect(unnamed).toEqual([]);
  });

  it("ARCHITECTURE.md names files and functions that exist", () => {
    const sources = CODE.filter((name) => name.startsWith("packages/"));
    const named = [...read("ARCHITECTURE.md").matchAll(/`([\w/.-]+\.ts)`(?: `(#?\w+)`)?/g)];
    const wrong = named
      .filter(([, file, symbol]) => {
        const found = sources.filter((name) => name.endsWith(`/${file ?? ""}`));
        const word = new RegExp(`(^|[^\\w#])${symbol ?? ""}(\\W|$)`, "m");
        return !found.some((name) => symbol === undefined || word.test(read(name)));
      })
      .map(([text]) => text);
    expect(named.length).toBeGreaterThan(20);
    expect(wrong).toEqual([]);
  });

  it("CONTRIBUTING.md gives the reason of every dependency", () => {
    const contributing = read("CONTRIBUTING.md");
    const used = [".", "packages/keelson", "packages/kv"].flatMap((folder) => {
      const { dependencies, devDependencies } = manifest(folder);
      return [...Object.keys(dependencies ?? {}), ...Object.keys(devDependencies ?? {})];
    });
    const unnamed = used.filter((name) => name !== "keelson" && !contributing.includes(`\`${name}\``));
    expect(unnamed).toEqual([]);
  });

  it("name only scripts that exist", () => {
    const scripts = Object.keys(manifest(".").scripts ?? {});
    const named = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"].flatMap((paper) =>
      [...read(paper).matchAll(/npm run (?:--silent )?([a-z][a-z:-]*)/g)].map((match) => match[1] ?? ""),
    );
    expect(named.filter((name) => !scripts.includes(name))).toEqual([]);
  });

  it("link only to files that exist", () => {
    const papers = FILES.filter((name) => name.endsWith(".md"));
    const dead = papers.flatMap((paper) =>
      [...read(paper).matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)/g)]
        .map((match) => path.join(path.dirname(paper), match[1] ?? ""))
        .filter((target) => !existsSync(path.join(root, target)))
        .map((target) => `${paper} -> ${target}`),
    );
    expect(dead).toEqual([]);
  });
});

describe("what keelson exports", () => {
  it("has a doc comment on every symbol", () => {
    const sources = [...entries("packages/keelson").values()].map((file) => path.join(root, file));
    const program = ts.createProgram(sources, {
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
      // Of the package's own imports, such as "#platform", take the sources: in a fresh clone nothing is
      // built.
      customConditions: ["source"],
      target: ts.ScriptTarget.ES2024,
      allowImportingTsExtensions: true,
      noEmit: true,
      noLib: true,
      types: [],
    });
    const checker = program.getTypeChecker();
    const bare = new Set<string>();
    let seen = 0;
    for (const source of sources) {
      const module = checker.getSymbolAtLocation(program.getSourceFile(source) as ts.Node);
      if (module === undefined) throw new Error(`${source} exports nothing`);
      for (const symbol of checker.getExportsOfModule(module)) {
        seen++;
        const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
        if (target.getDocumentationComment(checker).length > 0) continue;
        const file = target.declarations?.[0]?.getSourceFile().fileName ?? source;
        bare.add(`${path.relative(root, file)}: ${symbol.name}`);
      }
    }
    expect(seen).toBeGreaterThan(0);
    expect([...bare].sort(), "give each a sentence that says what it is for").toEqual([]);
  }, 60_000);
});
