/**
 * Verifies examples/kv-compose: `npm run containers`. Builds the image, starts the three containers, runs
 * every command of the README and compares its output, and then checks what the page only claims. It needs
 * root, or a Docker engine.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import path from "node:path";

import { Checks, REMOVE_SOLO } from "./containers/checks.ts";
import { engineRefusal, installPackages, startEngine, type Engine } from "./containers/engine.ts";
import { runStep, stepsIn } from "./containers/walkthrough.ts";
import { SKIPPED } from "./tally.ts";
import { flagsOf } from "./lib/flags.ts";

const HELP = `Usage: npm run containers [-- --install] [--data DIR]

Builds the image of examples/kv-compose, runs its README, and checks what the README says.

  --install   install the Debian packages that podman needs, if no Docker engine answers
  --data DIR  where podman keeps images and containers (default: /var/tmp/keelson-containers). The base
              image stays there for the next run; delete it with rm -rf when no run is under way

Exits with 0 if all held or containers can't run here (then one line says why), and with 1 if something didn't hold.`;

/** The environment variable that tells the script that it runs in a network namespace of its own. */
const INSIDE = "KEELSON_CONTAINERS_INSIDE";
const OUTPUT_CHARACTERS_MAX = 3000;
/** What the page publishes, and what the check of one volume needs. */
const PORTS = [8001, 8002, 8003, 9001, 9002, 9003, 9009];
const PORTS_MS_MAX = 300_000;
const FOLDER = path.join(import.meta.dirname, "../examples/kv-compose");

async function main(): Promise<number> {
  const { values } = flagsOf("npm run containers", HELP, {
    options: {
      install: { type: "boolean", default: false },
      data: { type: "string", default: "/var/tmp/keelson-containers" },
    },
  });
  if (values.install && process.getuid?.() === 0) installPackages();
  const refusal = engineRefusal();
  if (refusal !== null) {
    console.log(`${SKIPPED} no container was started: ${refusal}.`);
    return 0;
  }
  const begun = performance.now();
  const say = (text: string): void => {
    console.log(`${((performance.now() - begun) / 1000).toFixed(0).padStart(5)} s  ${text}`);
  };
  const engine = await startEngine(path.resolve(values.data));
  // Whether what has the names of the page, and of the checks, is this run's.
  let isOurs = false;
  const remove = async (): Promise<void> => {
    if (isOurs) await engine.shell(`${REMOVE_SOLO}; docker compose down --volumes --timeout 30`, FOLDER);
    await engine.close();
  };
  // Containers outlive this process, and `restart: always` would keep them. npm passes a Ctrl-C on that this
  // process gets anyway, so it comes twice.
  let removed: Promise<void> | undefined;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      removed ??= remove().finally(() => process.exit(1));
    });
  }
  try {
    if (engine.isPodman && process.env[INSIDE] !== "1") {
      say(engine.description);
      // Here, because a build needs the package registries.
      const { code, output } = await engine.shell("docker compose build", FOLDER);
      if (code !== 0)
        throw new Error(`docker compose build failed:\n${output.slice(-OUTPUT_CHARACTERS_MAX)}`);
      say("the image is built; the rest runs in a network namespace of its own");
      await engine.close();
      return await runInOwnNetwork();
    }
    await refuseIfTaken(engine);
    isOurs = true;
    await verify(engine, say);
    return 0;
  } catch (error) {
    console.log(`FAILED: ${error instanceof Error ? error.message : String(error)}`);
    return 1;
  } finally {
    await (removed ?? remove());
  }
}

/**
 * Runs this script again in a new network namespace, where the ports of the page are free and the firewall is
 * its own. Resolves with its exit code.
 */
async function runInOwnNetwork(): Promise<number> {
  const again = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const child = spawn("unshare", ["--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", ...again], {
    stdio: "inherit",
    env: { ...process.env, [INSIDE]: "1" },
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.removeAllListeners(signal).on(signal, () => {
      child.kill(signal);
    });
  }
  const [code] = (await once(child, "exit")) as [number | null];
  return code ?? 1;
}

/** The run ends with the removal of its volumes: never touch those of a person who tries the example. */
async function refuseIfTaken(engine: Engine): Promise<void> {
  const taken = await engine.shell(
    "(docker ps --all --format '{{.Names}}'; docker volume ls --quiet) | grep -E '^(raft[123]|solo|rival|keelson-solo|kv-compose_raft[123])$'",
  );
  if (taken.output.trim() !== "")
    throw new Error(
      `there are containers or volumes already, and none was touched: ${taken.output.trim().split("\n").join(", ")}`,
    );
}

/** Throws an Error that says what doesn't hold. */
async function verify(engine: Engine, say: (text: string) => void): Promise<void> {
  const checks = new Checks(engine, FOLDER, say);
  const shell = (command: string) => engine.shell(command, FOLDER);
  const [up, ...steps] = stepsIn(readFileSync(path.join(FOLDER, "README.md"), "utf8"));
  const down = steps.pop();
  if (up === undefined || down === undefined) throw new Error("the README has no commands");
  const must = async (step: typeof up): Promise<void> => {
    const wrong = await runStep(step, shell);
    if (wrong !== null) throw new Error(`$ ${step.command}\n${wrong}`);
  };
  try {
    await portsFree(say);
    await must(up);
    say(`$ ${up.command}`);
    // The page shows a cluster that raft1 leads, and says how to get one.
    await checks.makeLeader("raft1");
    for (const step of steps) {
      await must(step);
      say(`as on the page: $ ${step.command}`);
    }
    await checks.image();
    await checks.orphans();
    await checks.health();
    await checks.stop();
    await checks.restarts();
    await checks.twoContainersOneVolume();
    await must(down);
    say(`as on the page: $ ${down.command}`);
    console.log(`all ${steps.length + 2} commands of the page printed what it shows, and all 6 checks held`);
  } catch (error) {
    for (const id of ["raft1", "raft2", "raft3"])
      console.log(`--- ${id}\n${(await shell(`docker logs --tail 15 ${id} 2>&1`)).output}`);
    throw error;
  }
}

/** Waits until nothing listens at the ports of the page, for example a demo of this server. */
async function portsFree(say: (text: string) => void): Promise<void> {
  const deadline = performance.now() + PORTS_MS_MAX;
  for (const port of PORTS) {
    for (let attempt = 0; !(await isFree(port)); attempt++) {
      if (attempt === 0) say(`waiting: another program uses port ${port}`);
      if (performance.now() > deadline) throw new Error(`another program uses port ${port}`);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once("error", () => {
      resolve(false);
    });
    server.listen(port, "127.0.0.1", () => {
      server.close(() => {
        resolve(true);
      });
    });
  });
}

process.exit(await main());
