import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { stubNode } from "../test/stub-node.ts";

const FLAGS = ["--conditions=source", "--input-type=module"];
const MODULE = new URL("kv-client.ts", import.meta.url).href;

/**
 * Runs a program that makes a client as `client`, and resolves with what it prints. It must exit by itself.
 */
async function run(nodes: readonly string[], body: string): Promise<string> {
  const program =
    `import { KvClient } from ${JSON.stringify(MODULE)};` +
    `const client = new KvClient({ nodes: ${JSON.stringify(nodes)}, sessions: false }); ${body}`;
  // Longer than a loaded machine takes to start a process, shorter than an idle connection lives (30 s).
  const options = { timeout: 15_000 };
  const found = await promisify(execFile)(process.execPath, [...FLAGS, "-e", program], options);
  return found.stdout.trim();
}

describe.each(["http", "binary"] as const)("a process with a client over %s", (protocol) => {
  it("ends when its calls have ended, without close()", async () => {
    const stub = await stubNode(protocol, (call) => {
      // Long enough that nothing but the call keeps the process running.
      setTimeout(call.succeed, 200);
    });
    const text = await run([stub.address], 'console.log((await client.put("a", "1")).version);');
    expect(text).toBe("2");
  });
});
