import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { KvClient } from "../src/index.ts";
import { listen } from "../src/shared/listen.ts";
import { freePorts } from "./support/ports.ts";
import { Keelson, until } from "./support/process.ts";

/** A running demo with its output. */
class Demo {
  readonly keelson: Keelson;
  readonly directory: string;
  readonly args: readonly string[];
  readonly http: readonly string[];

  private constructor(directory: string, args: readonly string[], http: readonly string[]) {
    this.directory = directory;
    this.args = args;
    this.http = http;
    this.keelson = new Keelson(args, { cwd: directory });
  }

  /** Starts it in a temporary directory, on free ports. */
  static async start(args?: readonly string[], directory?: string): Promise<Demo> {
    const [first = 0] = await freePorts(9);
    const folder = directory ?? mkdtempSync(path.join(tmpdir(), "keelson-demo-"));
    const ports = ["--raft-port", `${first}`, "--line-port", `${first + 3}`, "--http-port", `${first + 6}`];
    const flags = args ?? ["demo", ...ports];
    const http = Number(flags[flags.indexOf("--http-port") + 1]);
    const demo = new Demo(
      folder,
      flags,
      [0, 1, 2].map((at) => `127.0.0.1:${http + at}`),
    );
    onTestFinished(async () => {
      const pids = demo.pids;
      await demo.keelson.kill("SIGKILL");
      // The nodes stop by themselves when the demo is killed. Whatever happened, none may outlive the test.
      await until("the nodes are gone", () => !pids.some(isAlive), 5000).finally(() => {
        for (const pid of pids.filter(isAlive)) process.kill(pid, "SIGKILL");
      });
      if (directory === undefined) rmSync(folder, { recursive: true, force: true });
    });
    return demo;
  }

  get text(): string {
    return this.keelson.stdout;
  }

  get pids(): number[] {
    return [...this.text.matchAll(/^ {2}n\d {2}process (\d+) /gm)].map(([, pid]) => Number(pid));
  }

  pidOf(id: string): number {
    return Number(new RegExp(`^  ${id}  process (\\d+) `, "m").exec(this.text)?.[1]);
  }

  async says(pattern: RegExp): Promise<string> {
    await until(`the demo says ${String(pattern)}; it said:\n${this.text}`, () => {
      if (!this.keelson.isRunning) throw new Error(`it ended: ${this.text}${this.keelson.stderr}`);
      return pattern.test(this.text);
    });
    return pattern.exec(this.text)?.[1] ?? "";
  }

  async ready(): Promise<string> {
    return this.says(/^ready: the leader is (n\d)$/m);
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

describe("keelson demo", () => {
  it("prints what happens to its nodes, from the first leader to Ctrl-C, and keeps the data", async () => {
    const demo = await Demo.start();
    const leader = await demo.ready();
    expect(demo.pids.length).toBe(3);
    const client = new KvClient({ nodes: demo.http });
    await client.put("ship", "Argo");

    process.kill(demo.pidOf(leader), "SIGKILL");
    const command = await demo.says(
      new RegExp(
        `^${leader} died \\(process \\d+, killed by SIGKILL\\); start it again .*with:\\n  (.*)$`,
        "m",
      ),
    );
    await demo.says(/^the leader is n\d now \(term \d+\)$/m);
    await client.put("ship", "Argo II");

    // As the user would: paste the command into a shell in the same directory.
    const byHand = spawn("sh", ["-c", `exec ${command}`], { cwd: demo.directory, stdio: "ignore" });
    const byHandEnded = new Promise((resolve) => byHand.once("exit", resolve));
    onTestFinished(() => void byHand.kill("SIGKILL"));
    await demo.says(new RegExp(`^${leader} is back \\(process ${byHand.pid ?? 0}\\)$`, "m"));
    byHand.kill("SIGKILL");
    await byHandEnded;
    await demo.says(new RegExp(`^${leader} died \\(process ${byHand.pid ?? 0}, it is gone\\)`, "m"));

    const begun = performance.now();
    demo.keelson.interrupt();
    expect(await demo.keelson.ended).toEqual({ code: 0, signal: null });
    expect(performance.now() - begun).toBeLessThan(5000);
    expect(demo.text.match(/^n\d stopped$/gm)?.length).toBe(2);
    expect(demo.pids.filter(isAlive)).toEqual([]);
    expect(demo.keelson.stderr).toBe("");
    for (const id of ["n1", "n2", "n3"].filter((one) => one !== leader)) {
      const log = readFileSync(path.join(demo.directory, "data", id, "server.log"), "utf8");
      // The demo told it to stop, one node after another; Ctrl-C didn't reach it.
      expect(log).toContain('"msg":"SIGTERM: closing"');
      expect(log).not.toContain("SIGINT");
      expect(log.trimEnd().split("\n").at(-1)).toContain('"msg":"closed"');
    }

    const again = await Demo.start(demo.args, demo.directory);
    await again.ready();
    const found = await client.get("ship");
    expect(Buffer.from(found?.value ?? []).toString()).toBe("Argo II");
  });

  it("stops all three nodes at Ctrl-C, including a paused one and one that the user started", async () => {
    const demo = await Demo.start();
    const leader = await demo.ready();
    const [first = "", second = ""] = ["n1", "n2", "n3"].filter((id) => id !== leader);
    process.kill(demo.pidOf(first), "SIGKILL");
    const command = await demo.says(new RegExp(`^${first} died .*\\n  (.*)$`, "m"));
    const byHand = spawn("sh", ["-c", `exec ${command}`], { cwd: demo.directory, stdio: "ignore" });
    const byHandEnded = new Promise((resolve) => byHand.once("exit", resolve));
    onTestFinished(() => void byHand.kill("SIGKILL"));
    await demo.says(new RegExp(`^${first} is back`, "m"));
    process.kill(demo.pidOf(second), "SIGSTOP");
    await demo.says(new RegExp(`^${second} does not answer, though its process \\d+ is there$`, "m"));
    demo.keelson.interrupt();
    expect((await demo.keelson.ended).code).toBe(0);
    expect(await byHandEnded).toBe(0);
    expect(demo.pids.filter(isAlive)).toEqual([]);
  });

  it("ends its nodes when it is killed", async () => {
    const demo = await Demo.start();
    await demo.ready();
    await demo.keelson.kill("SIGKILL");
    await until("the nodes are gone", () => !demo.pids.some(isAlive), 5000);
    const log = readFileSync(path.join(demo.directory, "data", "n1", "server.log"), "utf8");
    expect(log).toContain("the parent process is gone: closing");
    expect(log).toContain('"msg":"closed"');
  });

  it("says which node could not start and why, stops the others and exits with 1", async () => {
    const taken = createServer();
    onTestFinished(() => void taken.close());
    const [first = 0] = await freePorts(9);
    await listen(taken, { host: "127.0.0.1", port: first + 4 });
    const ports = ["--raft-port", `${first}`, "--line-port", `${first + 3}`, "--http-port", `${first + 6}`];
    const demo = await Demo.start(["demo", ...ports]);
    expect((await demo.keelson.ended).code).toBe(1);
    expect(demo.keelson.stderr).toBe(
      `keelson: n2 did not start: cannot listen on 127.0.0.1:${first + 4}: it is in use by another process; stop that one or choose another port\n`,
    );
    expect(demo.pids.filter(isAlive)).toEqual([]);
  });

  it("doesn't mistake another cluster's nodes for its own, and leaves them alone", async () => {
    const first = await Demo.start();
    await first.ready();
    const second = await Demo.start(first.args);
    expect((await second.keelson.ended).code).toBe(1);
    expect(second.text).not.toContain("ready");
    expect(second.keelson.stderr).toContain("did not start: cannot listen on");
    expect(second.pids.filter(isAlive)).toEqual([]);
    expect(first.pids.filter(isAlive)).toHaveLength(3);
  });
});
