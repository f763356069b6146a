// The oldest Node that the library runs on.

/**
 * As `engines` in package.json has it. Earlier versions have `node:sqlite`, the lock, behind a flag or not at
 * all.
 */
export const NODE_VERSION_MIN = "22.13.0";

/**
 * What to tell the user of a Node that is too old, in one line; null: it is new enough.
 *
 * @param version `process.versions.node`; undefined: this isn't Node, but another runtime that offers its
 *   modules
 */
export function refusalOfNode(program: string, version: string | undefined): string | null {
  if (version === undefined || isAtLeast(version, NODE_VERSION_MIN)) return null;
  const [major, minor] = NODE_VERSION_MIN.split(".");
  return `${program} needs Node ${String(major)}.${String(minor)} or later, and this is Node ${version}`;
}

function isAtLeast(version: string, least: string): boolean {
  const [parts, leastParts] = [numbersOf(version), numbersOf(least)];
  for (const [at, number] of leastParts.entries()) {
    const part = parts[at] ?? 0;
    if (part !== number) return part > number;
  }
  return true;
}

function numbersOf(version: string): number[] {
  return version.split(".").map((part) => Number.parseInt(part, 10));
}
