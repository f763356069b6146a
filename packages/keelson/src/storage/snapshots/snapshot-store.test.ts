import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, it } from "vitest";
import { nodeFiles } from "../../environment/node/node-files.ts";
import { simulatedEnvironment } from "../../environment/simulated/simulated-environment.ts";
import { SimulatedFiles } from "../../environment/simulated/simulated-files.ts";
import { describeSnapshotStore } from "../../testing/suites/snapshot-store-suite.ts";
import { memorySnapshots, snapshotFiles } from "./index.ts";

/** Each place draws other random numbers, and so other ids of snapshots. */
let seed = 0;

describeSnapshotStore(
  "snapshots in memory",
  async () => {
    const store = memorySnapshots();
    return { environment: simulatedEnvironment({ seed: ++seed }), store: () => store };
  },
  { describe, it },
);

describeSnapshotStore(
  "snapshots in files, on a disk in memory,",
  async () => ({
    environment: simulatedEnvironment({ files: new SimulatedFiles(), seed: ++seed }),
    store: () => snapshotFiles("/data/snapshots"),
  }),
  { describe, it },
);

describeSnapshotStore(
  "snapshots in files, on a real disk,",
  async () => {
    const directory = await mkdtemp(path.join(tmpdir(), "keelson-snapshots-"));
    return {
      environment: simulatedEnvironment({ files: nodeFiles(), seed: ++seed }),
      store: () => snapshotFiles(path.join(directory, "snapshots")),
      dispose: () => rm(directory, { recursive: true }),
    };
  },
  { describe, it },
);
