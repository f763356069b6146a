import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import {
  problemsOf,
  problemsOfTag,
  strangersTo,
  tagMessage,
  withRelease,
  withVersion,
  type ReleaseState,
} from "./release.ts";

const root = path.join(import.meta.dirname, "../..");
const repository = { url: "git+https://example.org/keelson.git" };
const READY: ReleaseState = {
  version: "0.2.0",
  manifests: [
    { name: "keelson", version: "0.1.0", repository },
    { name: "keelson-kv", version: "0.1.0", repository, dependencies: { keelson: "^0.1.0" } },
  ],
  changelog: "# Changelog\n\n## Unreleased\n\n- Something.\n\n## 0.1.0 (2026-01-02)\n\n- All.\n",
  tags: ["v0.1.0"],
  changes: "",
};

describe("problemsOf", () => {
  it("finds none in a repository that is ready", () => {
    expect(problemsOf(READY)).toEqual([]);
  });

  it.each<[string, Partial<ReleaseState>, RegExp]>([
    ["a tree that isn't clean", { changes: " M README.md\n" }, /not clean/],
    ["a tag that exists", { tags: ["v0.2.0"] }, /tag v0.2.0 exists/],
    ["a version that isn't one", { version: "2" }, /no version/],
    ["an earlier version", { version: "0.0.9" }, /0.1.0 already/],
    [
      "a changelog that says nothing",
      { changelog: "## Unreleased\n\n## 0.1.0 (2026-01-02)\n\n- All.\n" },
      /nothing/,
    ],
    [
      "packages with different versions",
      {
        manifests: [
          { name: "a", version: "0.1.0", repository },
          { name: "b", version: "0.1.1", repository },
        ],
      },
      /different versions/,
    ],
    ["a package without its repository", { manifests: [{ name: "a", version: "0.1.0" }] }, /provenance/],
  ])("names %s", (_, change, text) => {
    const problems = problemsOf({ ...READY, ...change });
    expect(problems).not.toEqual([]);
    expect(problems.filter((problem) => !text.test(problem))).toEqual([]);
  });
});

describe("problemsOfTag", () => {
  const manifests = READY.manifests.map((manifest) => ({
    ...manifest,
    version: "0.2.0",
    ...(manifest.dependencies === undefined ? {} : { dependencies: { keelson: "^0.2.0" } }),
  }));
  const changelog = withRelease(READY.changelog, "0.2.0", "2026-02-03");

  it("finds none in what a release wrote", () => {
    expect(problemsOfTag("v0.2.0", { ...READY, manifests, changelog })).toEqual([]);
  });

  it("names packages and a changelog of another version", () => {
    const problems = problemsOfTag("v0.2.0", READY);
    expect(problems.join("\n")).toMatch(/keelson has version 0.1.0[^]*needs keelson[^]*no section/);
  });
});

describe("a release", () => {
  it("writes its version into the packages that there are", () => {
    for (const folder of ["packages/keelson", "packages/kv"]) {
      const text = withVersion(readFileSync(path.join(root, folder, "package.json"), "utf8"), "9.8.7");
      const manifest = JSON.parse(text) as { version: string; dependencies?: Record<string, string> };
      expect(manifest.version).toBe("9.8.7");
      expect(manifest.dependencies?.["keelson"] ?? "^9.8.7").toBe("^9.8.7");
    }
  });

  it("moves what was unreleased under its version, in the changelog that there is", () => {
    const changelog = withRelease(
      readFileSync(path.join(root, "CHANGELOG.md"), "utf8"),
      "9.8.7",
      "2026-02-03",
    );
    expect(changelog).toMatch(/^## Unreleased\n\n## 9\.8\.7 \(2026-02-03\)\n\n### Added\n/m);
  });

  it("names packs that are not those of the tag", () => {
    const packs = [
      { name: "keelson", sha256: "aa" },
      { name: "keelson-kv", sha256: "bb" },
    ];
    const message = tagMessage("0.2.0", packs);
    expect(strangersTo(message, packs)).toEqual([]);
    expect(strangersTo(message, [{ name: "keelson", sha256: "cc" }])).toEqual(["keelson"]);
  });
});
