import { describe, it } from "vitest";
import { simulatedEnvironment } from "../../environment/simulated/simulated-environment.ts";
import { describeLogStore } from "../../testing/suites/log-store-suite.ts";
import { memoryLog } from "./index.ts";

describeLogStore(
  "the log in memory",
  async () => {
    const store = memoryLog();
    return { environment: simulatedEnvironment(), store: () => store };
  },
  { describe, it },
);
