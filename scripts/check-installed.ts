/**
 * Installs both packages from their archives into an empty project, with their dependencies, and uses them on
 * each version of Node that they support: from ESM, from `require`, and as the command `keelson`. Then on one
 * that is too old, where each must end with one line that says so.
 *
 *   npm run packages:installed [-- --packed] [-- --nodes 22,26]
 *
 * `--packed`: takes the archives that `npm run packages` left, instead of packing again. The registry of
 * packages must be reachable; otherwise the check is skipped.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

import { run } from "./commands.ts";
import { freePorts } from "./lib/free-ports.ts";
import { must } from "./packages/must.ts";
import {
  installFromRegistry,
  installNodes,
  NODE_VERSIONS,
  REFUSED_VERSION,
  RegistryUnreachable,
} from "./packages/node-versions.ts";
import { packTwice } from "./packages/packing.ts";
import { packsLeft } from "./packages/packs-left.ts";
import { SKIPPED } from "./tally.ts";
import { flagsOf, helpIn } from "./lib/flags.ts";

/** A cluster of one node, on its own disk: works from ESM and, with `require`, from CommonJS. */
const PROGRAM = `
async function main({ Raft }, { KvClient }, directory) {
  const raft = await Raft.open({
    id: "a", members: { a: "127.0.0.1:" + process.argv[2] }, data: directory,
    stateMachine: { apply: (command) => command + 1 },
  });
  const result = await raft.write(41);
  await raft.close();
  if (result !== 42 || typeof KvClient !== "function") throw new Error("it wrote " + result);
}
`;

/** The time limit for the demo to begin, to answer, and to stop. */
const DEMO_MS_MAX = 60_000;

/** A Node, as the user's PATH has it. */
function pathWith(bin: string): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${bin}${path.delimiter}${process.env["PATH"] ?? ""}` };
}

/** Writes and reads in a node of its own, once from ESM and once from CommonJS. */
async function useLibrary(project: string, bin: string): Promise<void> {
  const [port = 0, otherPort = 0] = await freePorts(2);
  const esm = ['import * as keelson from "keelson";', 'import * as kv from "keelson-kv";', PROGRAM];
  const data = await mkdtemp(path.join(project, "data-"));
  await writeFile(
    path.join(project, "main.mjs"),
    [...esm, `await main(keelson, kv, "${data}/esm");`].join("\n"),
  );
  const commonJs = [PROGRAM, `main(require("keelson"), require("keelson-kv"), "${data}/commonjs");`];
  await writeFile(path.join(project, "main.cjs"), commonJs.join("\n"));
  await must(path.join(bin, "node"), ["main.mjs", `${port}`], project);
  await must(path.join(bin, "node"), ["main.cjs", `${otherPort}`], project);
}

/** `npx keelson demo`: three nodes, a write, a read, and Ctrl-C. */
async function runDemo(project: string, bin: string): Promise<void> {
  const data = await mkdtemp(path.join(project, "demo-"));
  const first = Math.min(...(await freePorts(9)));
  const ports = ["--raft-port", `${first}`, "--line-port", `${first + 3}`, "--http-port", `${first + 6}`];
  const child = spawn("npx", ["--offline", "keelson", "demo", "--data", data, ...ports], {
    cwd: project,
    env: pathWith(bin),
    stdio: ["ignore", "pipe", "pipe"],
    // A group of its own, so that Ctrl-C reaches all of it, as in a terminal.
    detached: true,
  });
  const closed = once(child, "close");
  const limit = setTimeout(() => process.kill(-(child.pid ?? 0), "SIGKILL"), DEMO_MS_MAX);
  let printed = "";
  child.stderr.on("data", (chunk: Buffer) => (printed += chunk.toString()));
  for await (const chunk of child.stdout) {
    const isFirst = !printed.includes("ready: ");
    printed += String(chunk);
    if (isFirst && printed.includes("ready: ")) {
      await writeAndRead(first + 6).finally(() => process.kill(-(child.pid ?? 0), "SIGINT"));
    }
  }
  await closed;
  clearTimeout(limit);
  for (const node of ["n1", "n2", "n3"]) {
    if (!printed.includes(`${node} stopped`)) throw new Error(`npx keelson demo printed\n${printed}`);
  }
}

async function writeAndRead(port: number): Promise<void> {
  const url = `http://127.0.0.1:${port}/kv/greeting`;
  const written = await fetch(url, { method: "PUT", body: "hello" });
  const read = await (await fetch(url)).text();
  if (!written.ok || read !== "hello") throw new Error(`the demo answered ${written.status} and ${read}`);
}

/** What a user of a Node that is too old is told: one line by the command, one by an import. */
async function beRefused(project: string, bin: string): Promise<string> {
  const node = path.join(bin, "node");
  const command = await run("npx", ["--offline", "keelson", "demo"], {
    cwd: project,
    env: pathWith(bin),
    secondsMax: DEMO_MS_MAX / 1000,
  });
  if (
    command.code === 0 ||
    !/^keelson: needs Node [\d.]+ or later, and this is Node [\d.]+\n$/.test(command.output)
  ) {
    throw new Error(`on an old Node, npx keelson demo printed\n${command.output}`);
  }
  const program = 'import("keelson").catch((error) => console.log(error.message))';
  const imported = await must(node, ["--eval", program], project);
  if (!/^keelson needs Node [\d.]+ or later, and this is Node [\d.]+\n$/.test(imported)) {
    throw new Error(`on an old Node, an import of keelson threw\n${imported}`);
  }
  return imported.trim();
}

const { values } = flagsOf("npm run packages:installed", helpIn(import.meta.filename), {
  options: {
    packed: { type: "boolean", default: false },
    nodes: { type: "string", default: NODE_VERSIONS.join(",") },
  },
});
const directory = await mkdtemp(path.join(tmpdir(), "keelson-installed-"));
try {
  const archives = values.packed
    ? await packsLeft()
    : (await packTwice(directory)).map(({ archive }) => archive);
  const versions = values.nodes.split(",");
  const project = path.join(directory, "project");
  await installFromRegistry(project, archives);
  const nodes = await installNodes(path.join(directory, "nodes"), [...versions, REFUSED_VERSION]);
  for (const version of versions) {
    const bin = nodes.get(version) ?? "";
    await useLibrary(project, bin);
    await runDemo(project, bin);
    const exact = (await must(path.join(bin, "node"), ["--version"], project)).trim();
    console.log(`Node ${exact}: import, require, and npx keelson demo work from the packs`);
  }
  console.log(`Node ${REFUSED_VERSION}: ${await beRefused(project, nodes.get(REFUSED_VERSION) ?? "")}`);
} catch (error) {
  if (!(error instanceof RegistryUnreachable)) throw error;
  console.log(`${SKIPPED} ${error.message}, so the packages were not installed on other versions of Node`);
} finally {
  await rm(directory, { recursive: true, force: true });
}
