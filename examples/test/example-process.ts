// What the tests of the examples need: the examples as processes, and ports for them.
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import { freePorts } from "../../packages/kv/test/support/ports.ts";

const EXAMPLES = fileURLToPath(new URL("..", import.meta.url));

/** A process that runs an example, with what it has printed. It is killed when the test ends. */
export class ExampleProcess {
  readonly child: ChildProcess;
  /** Resolves with the exit code; null: a signal ended it. */
  readonly ended: Promise<number | null>;
  stdout = "";
  stderr = "";

  constructor(example: string, args: readonly string[], cwd: string) {
    this.child = spawn(
      process.execPath,
      ["--conditions=source", path.join(EXAMPLES, `${example}.ts`), ...args],
      { cwd, stdio: ["ignore", "pipe", "pipe"] },
    );
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => (this.stdout += text));
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => (this.stderr += text));
    this.ended = once(this.child, "close").then(([code]) => code as number | null);
    onTestFinished(() => this.kill());
  }

  get lines(): string[] {
    return this.stdout.split("\n").slice(0, -1);
  }

  get isRunning(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    if (this.isRunning) this.child.kill(signal);
    await this.ended;
  }
}

/** A directory that is removed when the test ends. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(path.join(tmpdir(), "keelson-example-"));
  onTestFinished(() => {
    rmSync(directory, { recursive: true, force: true });
  });
  return directory;
}

/** "127.0.0.1:port" with ports that are free at the moment. */
export async function freeAddresses(count: number): Promise<string[]> {
  return (await freePorts(count)).map((port) => `127.0.0.1:${port}`);
}

/** Waits until the condition holds; checks every 20 ms. */
export async function until(what: string, condition: () => boolean, timeoutMs = 30_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/**
 * Listens at `address`, and passes requests of the examples' clients on to the server `to`. Cuts the
 * connection instead of passing on the first answer to each type of request. Returns the types of the
 * requests, as they come.
 */
export async function losesFirstAnswers(address: string, to: string): Promise<string[]> {
  const seen: string[] = [];
  const proxy = http.createServer((request, response) => {
    const passOn = async (): Promise<void> => {
      const body = await text(request);
      const { type } = JSON.parse(body) as { type: string };
      const isFirst = !seen.includes(type);
      seen.push(type);
      const answer = await (await fetch(`http://${to}/`, { method: "POST", body })).text();
      if (isFirst) response.destroy();
      else response.end(answer);
    };
    passOn().catch(() => response.destroy());
  });
  const [host, port] = address.split(":");
  proxy.listen(Number(port), host);
  await once(proxy, "listening");
  onTestFinished(() => {
    proxy.close();
    proxy.closeAllConnections();
  });
  return seen;
}
