import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";

/** A program that knows nothing of logs: it opens a node, writes "x" and closes it. */
const PROGRAM = join(import.meta.dirname, "..", "..", "runtime", "test", "open-and-close.ts");
const directory = mkdtempSync(join(tmpdir(), "keelson-log-"));
afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

/** Runs the program with this filter. */
function run(name: string, filter: string): Promise<{ code: unknown; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const options = { timeout: 15_000, env: { ...process.env, KEELSON_LOG: filter } };
    execFile(
      process.execPath,
      ["--conditions=source", PROGRAM, join(directory, name), "by closing"],
      options,
      (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : error.code, stdout, stderr });
      },
    );
  });
}

describe("KEELSON_LOG", () => {
  it.concurrent("shows elections and persistence of any program, and no command", async () => {
    const { code, stdout, stderr } = await run("debug", "debug");
    expect([code, stdout]).toEqual([0, "1\n"]);
    expect(stderr).toMatch(/ INFO {2}election a: a leads in term 2\n/);
    expect(stderr).toMatch(/ DEBUG election a: candidate term=2 leader=none\n/);
    expect(stderr).toMatch(/ DEBUG storage a: durable after [\d.]+ ms: save term=2 vote=a/);
    expect(stderr).toMatch(/ INFO {2}membership a: the members from entry 1 on: a\n/);
  });

  it.concurrent("shows what its filter names, and nothing by default", async () => {
    const one = await run("one", "storage");
    expect([
      ...new Set(
        one.stderr
          .trimEnd()
          .split("\n")
          .map((line) => line.split(/ +/).at(2)),
      ),
    ]).toEqual(["storage"]);
    expect((await run("none", "")).stderr).toBe("");
  });

  it.concurrent("keeps the program from starting if it is no filter, and says why", async () => {
    const { code, stderr } = await run("bad", "wal=debug");
    expect(code).toBe(1);
    expect(stderr).toContain('KEELSON_LOG is "wal=debug", and "wal=debug" in it is no filter');
  });
});
