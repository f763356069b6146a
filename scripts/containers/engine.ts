/**
 * Where containers run: a Docker engine if one answers, and otherwise podman, as root, in a directory of its
 * own. Both are used through the commands `docker` and `docker compose`, as on the page.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";

import { run, type Outcome } from "../commands.ts";
import { importBaseImage } from "./base-image.ts";

const COMMAND_SECONDS_MAX = 900;
/** Below the hard limit of most systems, and what compose.yaml asks for. */
const OPEN_FILES_MAX = 16_384;
const PROCESSES_MAX = 4096;
/** For podman, whose storage is this script's own. An interrupted run may have left containers. */
const REMOVE_ALL =
  "podman rm --all --force --time 0; podman volume prune --force; podman network prune --force";
/** What podman logs about health checks where systemd doesn't run. The script runs them itself. */
const NO_SYSTEMD = /^time=\S+ level=error msg="unable to get systemd connection .*\n/gm;
const BASE_IMAGE = "localhost/keelson-node:24";

/** Debian packages, by a command that each brings. */
const PACKAGES = {
  podman: "podman",
  runc: "runc",
  conmon: "conmon",
  debootstrap: "debootstrap",
  "docker-compose": "docker-compose",
  iptables: "iptables",
  ip: "iproute2",
  "/usr/lib/podman/netavark": "netavark",
  "/usr/lib/podman/aardvark-dns": "aardvark-dns",
  curl: "curl",
} as const;

export interface Engine {
  readonly description: string;
  readonly isPodman: boolean;
  /** Runs a line of shell in which `docker` is this engine. */
  shell(command: string, cwd?: string): Promise<Outcome>;
  close(): Promise<void>;
}

/** Why no containers can run here, in one line; null: they can. */
export function engineRefusal(): string | null {
  if (hasDocker()) return null;
  if (process.platform !== "linux") return "no Docker engine answers, and podman needs Linux";
  if (process.getuid?.() !== 0) return "no Docker engine answers, and podman is used as root only";
  const missing = missingPackages();
  if (missing.length === 0) return null;
  return `no Docker engine answers, and podman lacks ${missing.join(" ")} (with --install, Debian's packages are installed)`;
}

/** Installs the Debian packages that are missing. Throws if that fails. */
export function installPackages(): void {
  const missing = missingPackages();
  if (hasDocker() || missing.length === 0) return;
  console.log(`installing ${missing.join(" ")}`);
  for (const args of [
    ["update", "-qq"],
    ["install", "-y", "-qq", "--no-install-recommends", ...missing],
  ]) {
    const { status, stderr } = spawnSync("apt-get", args, {
      encoding: "utf8",
      env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    });
    if (status !== 0) throw new Error(`apt-get ${args.join(" ")}: ${stderr}`);
  }
}

export async function startEngine(directory: string): Promise<Engine> {
  if (hasDocker()) {
    return {
      description: "Docker's own engine",
      isPodman: false,
      shell: (command, cwd) => shellIn(process.env, command, cwd),
      close: () => Promise.resolve(),
    };
  }
  return Podman.start(directory);
}

/** podman with images, containers and networks of its own; what else podman runs here is untouched. */
class Podman implements Engine {
  readonly isPodman = true;
  readonly description: string;
  readonly #env: NodeJS.ProcessEnv;
  readonly #service: ReturnType<typeof spawn>;
  readonly #ended: Promise<unknown>;

  private constructor(description: string, env: NodeJS.ProcessEnv, service: ReturnType<typeof spawn>) {
    this.description = description;
    this.#env = env;
    this.#service = service;
    this.#ended = once(service, "exit");
  }

  static async start(directory: string): Promise<Podman> {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const refusals: string[] = [];
    // Without the kernel's overlay file system, each layer is a full copy: slow, and possible everywhere.
    for (const driver of ["overlay", "vfs"] as const) {
      const env = configure(directory, driver);
      const name = await importBaseImage(BASE_IMAGE, directory, (command) => shellIn(env, command));
      await shellIn(env, REMOVE_ALL);
      const probe = await shellIn(env, `podman run --rm --network none ${name} true`);
      if (probe.code !== 0) {
        refusals.push(`${driver}: ${probe.output.trim()}`);
        continue;
      }
      const socket = path.join(directory, "podman.sock");
      rmSync(socket, { force: true });
      const service = spawn("podman", ["system", "service", "--time", "0", `unix://${socket}`], {
        env,
        stdio: "ignore",
      });
      while (!existsSync(socket)) {
        if (service.exitCode !== null)
          throw new Error("podman's service ended at once; see podman system service");
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      const { output } = await shellIn(env, "podman --version; runc --version | head -1");
      const tools = output.trim().replaceAll("\n", ", ");
      const description = `no Docker engine answers: ${tools}, cgroupfs, ${driver}, netavark; base image from debootstrap and npm`;
      return new Podman(description, { ...env, DOCKER_HOST: `unix://${socket}` }, service);
    }
    throw new Error(`podman can run no container here:\n${refusals.join("\n")}`);
  }

  async shell(command: string, cwd?: string): Promise<Outcome> {
    const outcome = await shellIn(this.#env, command, cwd);
    return { ...outcome, output: outcome.output.replaceAll(NO_SYSTEMD, "") };
  }

  async close(): Promise<void> {
    // First, because a docker-compose that still runs would go on making containers.
    this.#service.kill();
    await this.#ended;
    await shellIn(this.#env, REMOVE_ALL);
  }
}

/**
 * Writes podman's configuration, and a command `docker` that is podman. Returns the environment that uses
 * both.
 */
function configure(directory: string, driver: string): NodeJS.ProcessEnv {
  const bin = path.join(directory, "bin");
  mkdirSync(bin, { recursive: true });
  const containers = path.join(directory, "containers.conf");
  const storage = path.join(directory, "storage.conf");
  const docker = path.join(bin, "docker");
  // The systemd cgroup manager and crun, podman's defaults, need a system that was started by systemd.
  writeFileSync(
    containers,
    `[containers]\ndefault_ulimits = ["nofile=${OPEN_FILES_MAX}:${OPEN_FILES_MAX}", "nproc=${PROCESSES_MAX}:${PROCESSES_MAX}"]\n` +
      `[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n` +
      `[network]\nnetwork_backend = "netavark"\nnetwork_config_dir = "${path.join(directory, "networks")}"\n`,
  );
  writeFileSync(
    storage,
    `[storage]\ndriver = "${driver}"\ngraphroot = "${path.join(directory, driver)}"\nrunroot = "${path.join(directory, `${driver}-run`)}"\n`,
  );
  // Debian's Compose is version 1: a command of its own, which wants -T where there is no terminal.
  writeFileSync(
    docker,
    `#!/bin/sh
[ "$1" = compose ] || exec podman "$@"
shift
case "$1" in
  exec) shift; exec docker-compose exec -T "$@" ;;
  *) exec docker-compose "$@" ;;
esac
`,
  );
  chmodSync(docker, 0o755);
  return {
    ...process.env,
    PATH: `${bin}${path.delimiter}${process.env["PATH"] ?? ""}`,
    CONTAINERS_CONF: containers,
    CONTAINERS_STORAGE_CONF: storage,
    NODE_IMAGE: BASE_IMAGE,
    // podman's own format for images has no health check.
    BUILDAH_FORMAT: "docker",
  };
}

function shellIn(env: NodeJS.ProcessEnv, command: string, cwd?: string): Promise<Outcome> {
  return run("bash", ["-o", "pipefail", "-c", command], {
    env,
    secondsMax: COMMAND_SECONDS_MAX,
    ...(cwd === undefined ? {} : { cwd }),
  });
}

function hasDocker(): boolean {
  if (process.env["DOCKER_HOST"] === undefined && !existsSync("/var/run/docker.sock")) return false;
  return (
    spawnSync("docker", ["info"], { timeout: 10_000 }).status === 0 &&
    spawnSync("docker", ["compose", "version"], { timeout: 10_000 }).status === 0
  );
}

function missingPackages(): string[] {
  return Object.entries(PACKAGES).flatMap(([command, name]) => {
    const found = command.startsWith("/")
      ? existsSync(command)
      : spawnSync("sh", ["-c", `command -v ${command}`]).status === 0;
    return found ? [] : [name];
  });
}
