/** What must hold for the containers beyond the walkthrough. Each check throws if something doesn't. */
import { readdirSync, readlinkSync } from "node:fs";

import { KvClient, KvClientError } from "keelson-kv";

import type { Engine } from "./engine.ts";

const NODES = ["127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003"];
/** How long a state may take that must come by itself: a leader, a restarted container. */
const WAIT_MS_MAX = 60_000;
/** A node that is asked to end has to be done long before the engine's patience ends. */
const STOP_SECONDS_MAX = 20;
/** Far below the limit of a container's grace period, so that a restart in time is not a kill. */
const GRACE_SECONDS = 30;
const RIVALS = 5;
const SOLO_HTTP = "127.0.0.1:9009";
/** Removes what `twoContainersOneVolume` makes. */
export const REMOVE_SOLO = "docker rm --force solo rival; docker volume rm keelson-solo";

export class Checks {
  readonly #engine: Engine;
  readonly #folder: string;
  readonly #say: (text: string) => void;

  constructor(engine: Engine, folder: string, say: (text: string) => void) {
    this.#engine = engine;
    this.#folder = folder;
    this.#say = say;
  }

  /** Has `id` lead, by asking each node to hand the leadership over: only the leader does. */
  async makeLeader(id: string): Promise<void> {
    await this.#until(`${id} leads`, async () => {
      for (const [at, node] of NODES.entries()) {
        const { leader } = await this.#json<{ leader: { id: string } | null }>(`http://${node}/status`);
        if (leader?.id === id) return true;
        if (leader?.id === `raft${at + 1}`)
          await this.#try(`docker exec raft${at + 1} keelson transfer ${id} --url http://${node}`);
      }
      return false;
    });
  }

  /** The image: who runs it, how it is stopped, how it is watched, and how much it adds to its base. */
  async image(): Promise<void> {
    const { Config: config, Size: size } = (
      await this.#inspect<[{ Config: { User: string; StopSignal: string }; Size: number }]>("keelson-kv")
    )[0];
    expect(config.User === "10001:10001", `the image's user is ${config.User}`);
    expect(config.StopSignal === "SIGTERM", `the image's stop signal is ${config.StopSignal}`);
    const own = await this.#must("docker run --rm --entrypoint du keelson-kv -sm /opt/keelson | cut -f 1");
    const identity = await this.#must(
      "docker exec raft1 sh -c 'id -u; cat /proc/1/comm; touch /x 2>&1'",
      true,
    );
    const [uid, first, refusal = ""] = identity.trim().split("\n");
    expect(uid === "10001" && first === "tini", `process 1 is ${first ?? ""}, as user ${uid ?? ""}`);
    expect(/Read-only/.test(refusal), `the root file system can be written: ${refusal}`);
    this.#say(
      `image: ${Math.round(size / 1e6)} MB in all, of which the server has ${own.trim()} MB; user 10001, tini is process 1, root file system read-only`,
    );
  }

  /** Process 1 collects orphans: after a program has left one behind, there is no zombie. */
  async orphans(): Promise<void> {
    await this.#must(
      "docker exec raft1 sh -c 'for n in 1 2 3; do sh -c \"sleep 0.2 & exit\"; done; sleep 1'",
    );
    const states = await this.#must("docker exec raft1 sh -c 'cat /proc/[0-9]*/stat' | cut -d ' ' -f 1-3");
    const zombies = states.split("\n").filter((line) => / Z/.test(line));
    expect(zombies.length === 0, `zombies are left: ${zombies.join(", ")}`);
    this.#say("process 1 collected 3 orphaned processes");
  }

  /** The health check fails for a node that does not answer, and holds for one that only has no leader. */
  async health(): Promise<void> {
    expect(await this.#isHealthy("raft1"), "raft1 is unhealthy");
    await this.#must("docker network disconnect keelson-peers raft1");
    await this.#until("raft1 has no leader", async () => {
      const answer = await fetch("http://127.0.0.1:9001/readyz");
      await answer.arrayBuffer();
      return answer.status === 503;
    });
    expect(await this.#isHealthy("raft1"), "raft1 is unhealthy because it has no leader");
    await this.#must("docker network connect --alias raft1-peer keelson-peers raft1");
    const { pid } = await this.#json<{ pid?: number }>("http://127.0.0.1:9001/status");
    expect(pid !== undefined, "raft1 doesn't tell its process id");
    await this.#must(`docker exec raft1 sh -c 'kill -STOP ${pid}'`);
    expect(!(await this.#isHealthy("raft1")), "raft1 is healthy although its process is stopped");
    await this.#must(`docker exec raft1 sh -c 'kill -CONT ${pid}'`);
    await this.#until("raft1 is healthy again", () => this.#isHealthy("raft1"));
    this.#say("health: healthy with and without a leader, unhealthy while the process hangs");
  }

  /** SIGTERM through process 1 ends a node in order, and nothing of its container is left. */
  async stop(): Promise<void> {
    const pid = (await this.#must("docker inspect --format '{{.State.Pid}}' raft1")).trim();
    const namespace = readlinkSync(`/proc/${pid}/ns/pid`);
    expect(processesIn(namespace).length >= 2, "the container's processes can't be seen from here");
    const begun = performance.now();
    await this.#must(`docker stop --time ${GRACE_SECONDS} raft1`);
    const seconds = (performance.now() - begun) / 1000;
    expect(seconds < STOP_SECONDS_MAX, `raft1 took ${seconds.toFixed(1)} s to stop`);
    const code = (await this.#must("docker inspect --format '{{.State.ExitCode}}' raft1")).trim();
    expect(code === "0", `raft1 ended with exit code ${code}`);
    const log = await this.#must("docker logs raft1 2>&1 | tail -5");
    expect(log.includes('"msg":"closed"'), `raft1 did not say that it closed:\n${log}`);
    const left = processesIn(namespace);
    expect(left.length === 0, `processes of the container are left: ${left.join(" ")}`);
    await this.#must("docker start raft1");
    this.#say(`SIGTERM: exit code 0 after ${seconds.toFixed(1)} s, log closed, no process left`);
  }

  /**
   * Acknowledged writes survive restarts of all containers, by the engine and by a crash (`restart: always`).
   */
  async restarts(): Promise<void> {
    const client = new KvClient({ nodes: NODES, timeoutMs: WAIT_MS_MAX });
    const count = 200;
    for (let n = 0; n < count; n++) await client.put(`kept/${n}`, `value ${n}`);
    await this.#must("docker compose restart");
    await this.#expectKept(client, count, "a restart of all three");
    const before = await this.#must("docker inspect --format '{{.State.Pid}}' raft1 raft2 raft3");
    for (const [at, node] of NODES.entries()) {
      const { pid } = await this.#json<{ pid?: number }>(`http://${node}/status`);
      expect(pid !== undefined, `${node} doesn't tell its process id`);
      await this.#must(`docker exec raft${at + 1} sh -c 'kill -KILL ${pid}'`, true);
    }
    await this.#until("all three run again", async () => {
      const now = await this.#try(
        "docker inspect --format '{{.State.Running}} {{.State.Pid}}' raft1 raft2 raft3",
      );
      const running = now.trim().split("\n");
      const pids = before.trim().split("\n");
      return (
        running.length === 3 &&
        running.every((line, at) => line.startsWith("true ") && line !== `true ${pids[at] ?? ""}`)
      );
    });
    await this.#expectKept(client, count, "a SIGKILL of all three");
    this.#say(
      `restarts: all ${count} acknowledged writes found after a restart and after a SIGKILL of all three`,
    );
  }

  /**
   * Starts a second container on a volume again and again while a client writes. Each is refused, and every
   * acknowledged write is found, before and after a restart of the first.
   */
  async twoContainersOneVolume(): Promise<void> {
    const serve = (name: string, port: string): string =>
      `${name} -v keelson-solo:/data keelson-kv serve --id solo --peers solo=127.0.0.1:7001 --data /data ` +
      `--line 0.0.0.0:8001 --http 0.0.0.0:${port} --advertise-http ${SOLO_HTTP} --advertise-line 127.0.0.1:8001`;
    await this.#must("docker volume create keelson-solo");
    await this.#must(`docker run -d -p ${SOLO_HTTP}:9001 --name ${serve("solo", "9001")}`);
    try {
      const isReady = async (): Promise<boolean> => {
        const { leader } = await this.#json<{ leader: object | null }>(`http://${SOLO_HTTP}/status`);
        return leader !== undefined && leader !== null;
      };
      await this.#until("the first container leads", isReady);
      const client = new KvClient({ nodes: [SOLO_HTTP], timeoutMs: WAIT_MS_MAX });
      const acknowledged: string[] = [];
      const ending = new AbortController();
      const isEnding = (): boolean => ending.signal.aborted;
      const writer = (async () => {
        for (let n = 0; !isEnding(); n++) {
          await client.put(`solo/${n}`, `value ${n}`);
          acknowledged.push(`solo/${n}`);
        }
      })();
      await this.#until("the first container takes writes", () => Promise.resolve(acknowledged.length > 0));
      for (let rival = 0; rival < RIVALS; rival++) {
        const { code, output } = await this.#engine.shell(
          `docker run --rm --name ${serve("rival", "9001")}`,
          this.#folder,
        );
        const last = output.trim().split("\n").at(-1) ?? "";
        expect(code === 1, `the second container ended with exit code ${code}:\n${output}`);
        expect(
          /^keelson: \/data\/log is in use by process \d+ on \S+, since /.test(last),
          `it said:\n${output}`,
        );
        if (rival === 0) this.#say(`a second container on the volume: ${last}`);
      }
      ending.abort();
      await writer;
      const count = acknowledged.length;
      expect((await this.#found(client, acknowledged)) === count, "acknowledged writes are lost");
      await this.#must(`docker restart --time ${GRACE_SECONDS} solo`);
      await this.#until("the first container leads again", isReady);
      const found = await this.#found(client, acknowledged);
      expect(found === count, `${count} writes were acknowledged, and ${found} are found after a restart`);
      this.#say(
        `two containers on one volume: ${RIVALS} of ${RIVALS} refused; ${count} writes acknowledged, ${found} found after a restart`,
      );
    } finally {
      await this.#try(REMOVE_SOLO);
    }
  }

  async #expectKept(client: KvClient, count: number, after: string): Promise<void> {
    const found = await this.#found(
      client,
      Array.from({ length: count }, (_, n) => `kept/${n}`),
    );
    expect(found === count, `${count} writes were acknowledged, and ${found} are found after ${after}`);
  }

  /** How many of the keys have the value that was written. A node may still be starting. */
  async #found(client: KvClient, keys: readonly string[]): Promise<number> {
    let found = 0;
    for (const key of keys) {
      const entry = await this.#reading(client, key);
      if (entry !== null && Buffer.from(entry.value).toString() === `value ${key.split("/")[1] ?? ""}`)
        found += 1;
    }
    return found;
  }

  async #reading(client: KvClient, key: string): ReturnType<KvClient["get"]> {
    const deadline = performance.now() + WAIT_MS_MAX;
    for (;;) {
      try {
        return await client.get(key);
      } catch (error) {
        if (!(error instanceof KvClientError) || performance.now() > deadline) throw error;
      }
    }
  }

  /** The image's health check, run now: podman needs systemd to run it by itself. */
  async #isHealthy(id: string): Promise<boolean> {
    if (this.#engine.isPodman)
      return (await this.#engine.shell(`podman healthcheck run ${id}`, this.#folder)).code === 0;
    const probe =
      'fetch("http://127.0.0.1:" + process.env.KEELSON_HTTP_PORT + "/healthz", { signal: AbortSignal.timeout(5000) })' +
      ".then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))";
    return (await this.#engine.shell(`docker exec ${id} node -e '${probe}'`, this.#folder)).code === 0;
  }

  async #inspect<T>(name: string): Promise<T> {
    return JSON.parse(await this.#must(`docker image inspect ${name}`)) as T;
  }

  /** An object without its fields if the node doesn't answer. */
  async #json<T>(url: string): Promise<Partial<T>> {
    try {
      return (await (await fetch(url, { signal: AbortSignal.timeout(5000) })).json()) as T;
    } catch {
      return {};
    }
  }

  async #must(command: string, mayFail = false): Promise<string> {
    const { code, output } = await this.#engine.shell(command, this.#folder);
    if (code !== 0 && !mayFail) throw new Error(`${command} ended with exit code ${code}:\n${output}`);
    return output;
  }

  async #try(command: string): Promise<string> {
    return this.#must(command, true);
  }

  async #until(what: string, condition: () => Promise<boolean>): Promise<void> {
    const deadline = performance.now() + WAIT_MS_MAX;
    while (!(await condition().catch(() => false))) {
      if (performance.now() > deadline) throw new Error(`not within ${WAIT_MS_MAX / 1000} s: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

/** This machine's ids of the processes in a process namespace. */
function processesIn(namespace: string): string[] {
  return readdirSync("/proc").filter((name) => {
    try {
      return /^\d+$/.test(name) && readlinkSync(`/proc/${name}/ns/pid`) === namespace;
    } catch {
      return false;
    }
  });
}

function expect(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new Error(otherwise);
}
