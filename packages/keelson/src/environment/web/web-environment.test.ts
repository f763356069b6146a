// What differs from the other environments; clock.test.ts holds the clock to its contract.
import { describe, expect, it } from "vitest";
import { InvalidOptionError } from "../../errors.ts";
import { SimulatedFiles } from "../simulated/simulated-files.ts";
import { nodeEnvironment, programDirectory } from "./no-node.ts";
import { webEnvironment } from "./web-environment.ts";

describe("webEnvironment", () => {
  it("says which parts to pass when a node uses files or byte streams that there are not", async () => {
    const { files, network } = webEnvironment();
    await expect(files.open("log", "read")).rejects.toThrow(/memoryLog\(\)/);
    await expect(files.lock("log")).rejects.toThrow(InvalidOptionError);
    await expect(network.listen("a:1", () => undefined)).rejects.toThrow(/memoryTransport\(\)/);
    expect(() => network.connect("a:1")).toThrow(InvalidOptionError);
  });

  it("uses the files and the network that it is given", () => {
    const files = new SimulatedFiles();
    expect(webEnvironment({ files }).files).toBe(files);
  });

  it("calls back all that were deferred, in their order, when one of them throws", async () => {
    const { defer } = webEnvironment();
    const seen: number[] = [];
    const uncaught: unknown[] = [];
    const listeners = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    process.on("uncaughtException", (error) => uncaught.push(error.message));
    try {
      defer(() => seen.push(1));
      defer(() => {
        throw new Error("thrown in a callback");
      });
      await new Promise<void>((resolve) => {
        defer(() => {
          seen.push(3);
          resolve();
        });
      });
    } finally {
      process.removeAllListeners("uncaughtException");
      for (const listener of listeners) process.on("uncaughtException", listener);
    }
    expect(seen).toEqual([1, 3]);
    expect(uncaught).toEqual(["thrown in a callback"]);
  });
});

describe("the build for browsers", () => {
  it("names what to pass instead of Node's environment", () => {
    expect(() => nodeEnvironment()).toThrow(/webEnvironment\(\) from keelson\/environment\/web/);
    expect(() => programDirectory()).toThrow(InvalidOptionError);
  });
});
