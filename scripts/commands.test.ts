import { describe, expect, it } from "vitest";

import { run } from "./commands.ts";

const CHILD_SECONDS = 30;
/** A program that waits for a child, which keeps the output open as long as it lives. */
const PROGRAM = `require("node:child_process").spawn("sleep", ["${CHILD_SECONDS}"], { stdio: "inherit" })`;
const COMMAND = ["-e", PROGRAM] as const;

describe("a command with a process group of its own", () => {
  it("is killed with all that it has started when its time is over", async () => {
    const interrupt = new AbortController().signal;
    const { code, output, seconds } = await run("node", COMMAND, { secondsMax: 1, interrupt });
    expect(code).not.toBe(0);
    expect(output).toContain("killed: it took longer than 1 s");
    expect(seconds).toBeLessThan(CHILD_SECONDS / 2);
  });

  it("is interrupted with all that it has started", async () => {
    const controller = new AbortController();
    const options = { secondsMax: CHILD_SECONDS, interrupt: controller.signal };
    const ended = run("node", COMMAND, options);
    setTimeout(() => {
      controller.abort();
    }, 1000);
    const { code, output, seconds } = await ended;
    expect({ code, output }).toEqual({ code: 1, output: "" });
    expect(seconds).toBeLessThan(CHILD_SECONDS / 2);
  });
});
