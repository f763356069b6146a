import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";

const PROGRAM = join(import.meta.dirname, "..", "test", "open-and-close.ts");

/** Milliseconds, far more than needed. A handle that is left open would keep the process running. */
const LIMIT_MS = 15_000;

describe("a process whose node has ended", () => {
  it.concurrent.each([
    ["by closing", "1\n"],
    ["by a failure", "1\nSTATE_MACHINE_FAILED\n"],
    ["without a leader", "CLOSED\n"],
  ])("%s ends by itself", async (ending, output) => {
    const directory = mkdtempSync(join(tmpdir(), "keelson-exit-"));
    try {
      const options = { timeout: LIMIT_MS };
      const { stdout } = await promisify(execFile)(
        process.execPath,
        ["--conditions=source", PROGRAM, join(directory, "log"), ending],
        options,
      );
      expect(stdout).toBe(output);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});
