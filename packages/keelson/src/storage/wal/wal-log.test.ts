import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "vitest";
import { FaultFiles } from "../../environment/fault-files.ts";
import { fakeEnvironment } from "../../environment/fake-environment.ts";
import { nodeFiles } from "../../environment/node-files.ts";
import { describeLogStore } from "../../testing/log-store-suite.ts";
import { wal } from "./index.ts";

describeLogStore(
  "the log on disk, on a disk in memory,",
  async () => ({
    environment: fakeEnvironment({ files: new FaultFiles() }),
    store: () => wal("/data/a", { segmentBytes: 16 * 1024 }),
  }),
  { describe, it },
);

describeLogStore(
  "the log on disk, on a real disk,",
  async () => {
    const directory = await mkdtemp(join(tmpdir(), "keelson-wal-"));
    return {
      environment: fakeEnvironment({ files: nodeFiles() }),
      store: () => wal(join(directory, "log"), { segmentBytes: 64 * 1024 }),
      dispose: () => rm(directory, { recursive: true }),
    };
  },
  { describe, it },
);
