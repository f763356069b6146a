#!/usr/bin/env node
/**
 * What npm installs as the command `keelson`. It refuses a Node that is too old in one line, and otherwise
 * hands over to main.ts. It must not import anything before that: an old Node stops at the first import of a
 * name that it lacks, with an error that tells the user nothing.
 */

/** As `engines` in package.json has it. */
const NODE_VERSION_MIN = [22, 13] as const;

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
const [leastMajor, leastMinor] = NODE_VERSION_MIN;
if (major < leastMajor || (major === leastMajor && minor < leastMinor)) {
  process.stderr.write(
    `keelson: needs Node ${NODE_VERSION_MIN.join(".")} or later, and this is Node ${process.versions.node}\n`,
  );
  process.exitCode = 1;
} else {
  await import("./main.ts");
}
