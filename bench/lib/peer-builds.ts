/**
 * Fetches and builds the rivals' programs in bench/peers/, with the toolchains of their own languages, from
 * the public registries, at the versions that their go.mod and go.sum, or Cargo.toml and Cargo.lock, pin. The
 * programs go into a cache folder outside the repository, named by the hash of the sources; a second run
 * builds nothing. A rival that can't be built here is skipped with one line that says why.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";

const PEERS = path.join(import.meta.dirname, "../peers");

/** A program that one of the folders in bench/peers builds. */
export interface Program {
  /** The folder. */
  readonly peer: string;
  /** The package within a Go module, such as "server", or "." for the module itself. */
  readonly target: string;
}

/** Far above what a build takes: two minutes on two cores. It ends a download that hangs. */
const BUILD_MS_MAX = 900_000;
/** The exit code of `nice` for a command that doesn't exist. */
const COMMAND_NOT_FOUND = 127;

/** The folder of built programs: an option, a variable, or the place where caches go on this system. */
export function cacheFolder(option: string | undefined): string {
  const given = option ?? process.env["KEELSON_BENCH_CACHE"];
  if (given !== undefined) return path.resolve(given);
  const caches =
    process.platform === "darwin"
      ? path.join(homedir(), "Library/Caches")
      : (process.env["XDG_CACHE_HOME"] ?? process.env["LOCALAPPDATA"] ?? path.join(homedir(), ".cache"));
  return path.join(caches, "keelson-bench");
}

/** The program's path, or null after a line that says why the rival is skipped. */
export function build({ peer, target }: Program, cache: string): string | null {
  const source = path.join(PEERS, peer);
  const isGo = existsSync(path.join(source, "go.mod"));
  const folder = path.join(cache, `${peer}-${hashOf(peer)}`);
  const program = path.join(folder, isGo ? (target === "." ? peer : target) : `target/release/${peer}`);
  if (existsSync(program)) return program;
  mkdirSync(folder, { recursive: true });
  const command = isGo ? "go" : "cargo";
  const args = isGo
    ? ["build", "-trimpath", "-o", program, `./${target}`]
    : ["build", "--release", "--locked", "--target-dir", path.join(folder, "target")];
  console.log(`building ${peer} (${target}): ${command} ${args.join(" ")}`);
  // Builds leave the processor to whatever else runs.
  const result = spawnSync("nice", ["-n", "10", command, ...args], {
    cwd: source,
    encoding: "utf8",
    timeout: BUILD_MS_MAX,
  });
  if (result.status === 0) return program;
  rmSync(program, { force: true });
  const output = result.error === undefined ? result.stderr.trim() : String(result.error);
  const reason =
    result.status === COMMAND_NOT_FOUND
      ? `${command} isn't installed`
      : `it could not be built: ${output.split("\n").at(-1) ?? ""}`;
  console.log(`skipped ${peer}: ${reason}`);
  return null;
}

/** The version of a module or crate that go.mod or Cargo.toml pins, for the tables. */
export function pinnedVersion(peer: string, module: string): string {
  const source = path.join(PEERS, peer);
  const goMod = path.join(source, "go.mod");
  const manifest = existsSync(goMod) ? goMod : path.join(source, "Cargo.toml");
  const line = readFileSync(manifest, "utf8")
    .split("\n")
    .map((each) => each.trim())
    .find((each) => each.startsWith(`${module} `));
  return /[\d.]+[-\w.]*/.exec(line?.slice(module.length) ?? "")?.[0] ?? "?";
}

/** Changes when a source of the program changes, or the package that the Go programs share. */
function hashOf(peer: string): string {
  const hash = createHash("sha256");
  for (const folder of [peer, "go-writers"]) addFolder(hash, path.join(PEERS, folder));
  return hash.digest("hex").slice(0, 12);
}

function addFolder(hash: ReturnType<typeof createHash>, folder: string): void {
  for (const name of readdirSync(folder).toSorted()) {
    const file = path.join(folder, name);
    if (name === "target") continue;
    if (statSync(file).isDirectory()) addFolder(hash, file);
    else hash.update(name).update("\0").update(readFileSync(file));
  }
}
