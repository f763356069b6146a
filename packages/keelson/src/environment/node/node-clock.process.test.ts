// Node's clock in a process that is stopped and goes on, as in a suspended container.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, it, onTestFinished } from "vitest";

const MODULE = new URL("./node-environment.ts", import.meta.url).href;

/** For how long the process is stopped, and the delays of its timers, all due meanwhile. */
const STOPPED_MS = 400;
const DELAYS_MS = [100, 200, 300];

// Reports when its timers fire, and how far its clock has moved, on standard output.
const PROGRAM = `
  const { nodeEnvironment } = await import(${JSON.stringify(MODULE)});
  const environment = nodeEnvironment();
  const start = environment.now();
  let before = start;
  let wentBack = false;
  const fired = [];
  for (const delayMs of ${JSON.stringify(DELAYS_MS)})
    environment.setTimer(delayMs, () => fired.push([delayMs, environment.now() - start]));
  process.stdout.write("started\\n");
  for (;;) {
    const now = environment.now();
    wentBack ||= now < before;
    before = now;
    if (fired.length === ${String(DELAYS_MS.length)}) break;
    await new Promise((resolve) => setImmediate(resolve));
  }
  process.stdout.write(JSON.stringify({ fired, wentBack }) + "\\n");
`;

it("goes on while its process is stopped, and fires each overdue timer once, after that", async () => {
  const child = spawn(process.execPath, ["--conditions=source", "--input-type=module", "-e", PROGRAM], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  while (!output.includes("started")) await once(child.stdout, "data");
  child.kill("SIGSTOP");
  await new Promise((resolve) => setTimeout(resolve, STOPPED_MS));
  child.kill("SIGCONT");
  await once(child, "exit");
  const { fired, wentBack } = JSON.parse(output.split("\n")[1] ?? "") as {
    fired: [delayMs: number, afterMs: number][];
    wentBack: boolean;
  };
  expect(wentBack).toBe(false);
  expect(fired.map(([delayMs]) => delayMs).sort((a, b) => a - b)).toEqual(DELAYS_MS);
  // The signal may arrive a moment after the process has started its timers.
  for (const [, afterMs] of fired) expect(afterMs).toBeGreaterThan(STOPPED_MS * 0.9);
});
