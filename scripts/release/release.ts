/**
 * What a release must fulfil, and what it changes in the files: without touching files, git or a registry.
 */

/** What the checks read of a package's manifest. */
export interface ReleaseManifest {
  readonly name: string;
  readonly version: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly repository?: { readonly url?: string } | string;
}

/** The state of the repository. */
export interface ReleaseState {
  /** The version to release. */
  readonly version: string;
  readonly manifests: readonly ReleaseManifest[];
  readonly changelog: string;
  /** The names of all tags. */
  readonly tags: readonly string[];
  /** What `git status --porcelain` prints. */
  readonly changes: string;
}

const VERSION = /^(\d+)\.(\d+)\.(\d+)(-[0-9A-Za-z.-]+)?$/;
const UNRELEASED = "## Unreleased";

/** The tag of a version. */
export function tagOf(version: string): string {
  return `v${version}`;
}

/** Why this version can't be released from here; empty: it can. */
export function problemsOf({ version, manifests, changelog, tags, changes }: ReleaseState): string[] {
  const problems: string[] = [];
  if (!VERSION.test(version)) problems.push(`${version} is no version; one looks like 1.2.3 or 1.2.3-rc.1`);
  if (changes.trim() !== "") problems.push(`the tree is not clean: commit or undo\n${changes.trimEnd()}`);
  if (tags.includes(tagOf(version)))
    problems.push(`the tag ${tagOf(version)} exists: choose the next version`);
  const versions = new Set(manifests.map((manifest) => manifest.version));
  if (versions.size > 1) problems.push(`the packages have different versions: ${[...versions].join(", ")}`);
  for (const { name, version: current } of manifests) {
    if (isBefore(version, current)) problems.push(`${name} has version ${current} already, after ${version}`);
  }
  if (sectionOf(changelog, UNRELEASED) === "") {
    problems.push(`CHANGELOG.md says nothing under "${UNRELEASED}"`);
  }
  return [...problems, ...problemsOfRepository(manifests)];
}

/** What must hold when a tag is published: the files say the tag's version. */
export function problemsOfTag(tag: string, state: Omit<ReleaseState, "tags" | "version">): string[] {
  const problems = problemsOfRepository(state.manifests);
  if (state.changes.trim() !== "") problems.push(`the tree is not clean:\n${state.changes.trimEnd()}`);
  const tagged = tag.slice(1);
  for (const { name, version, dependencies } of state.manifests) {
    if (version !== tagged) problems.push(`${name} has version ${version}, and the tag is ${tag}`);
    const needs = dependencies?.["keelson"] ?? `^${tagged}`;
    if (needs !== `^${tagged}`) problems.push(`${name} needs keelson ${needs}, not ^${tagged}`);
  }
  const heading = state.changelog.split("\n").find((line) => line.startsWith(`## ${tagged} `));
  if (heading === undefined) problems.push(`CHANGELOG.md has no section "## ${tagged} (DATE)"`);
  return problems;
}

/** npm compares this with the repository whose workflow publishes, and refuses provenance otherwise. */
function problemsOfRepository(manifests: readonly ReleaseManifest[]): string[] {
  return manifests
    .filter(({ repository }) => repository === undefined)
    .map(
      ({ name }) => `the package.json of ${name} has no "repository", without which npm gives no provenance`,
    );
}

/** The text of a section of the changelog, up to the next one; empty: there is none. */
function sectionOf(changelog: string, heading: string): string {
  const [, after = ""] = changelog.split(`${heading}\n`);
  return (after.split(/^## /m)[0] ?? "").trim();
}

/** Whether a version is before another one. Of two that differ by their suffix alone, neither is. */
function isBefore(version: string, other: string): boolean {
  const [a, b] = [VERSION.exec(version), VERSION.exec(other)];
  for (const part of [1, 2, 3]) {
    const difference = Number(a?.[part]) - Number(b?.[part]);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

/** The text of a manifest with the version, also where it needs `keelson`. */
export function withVersion(manifest: string, version: string): string {
  return manifest
    .replace(/^( {2}"version": )"[^"]*"/m, `$1"${version}"`)
    .replace(/^( {4}"keelson": )"\^[^"]*"/m, `$1"^${version}"`);
}

/** The changelog with what was unreleased under the version, and an empty section for what comes next. */
export function withRelease(changelog: string, version: string, date: string): string {
  return changelog.replace(`${UNRELEASED}\n`, `${UNRELEASED}\n\n## ${version} (${date})\n`);
}

/** The message of the tag: the archives' hashes, for everyone who packs from it. */
export function tagMessage(version: string, packs: readonly { name: string; sha256: string }[]): string {
  return [`Keelson ${version}`, "", ...packs.map(({ name, sha256 }) => `sha256 ${sha256} ${name}`)].join(
    "\n",
  );
}

/** The packs whose hashes are not those in the tag's message. */
export function strangersTo(message: string, packs: readonly { name: string; sha256: string }[]): string[] {
  const lines = message.split("\n").map((line) => line.trim());
  return packs
    .filter(({ name, sha256 }) => !lines.includes(`sha256 ${sha256} ${name}`))
    .map(({ name }) => name);
}
