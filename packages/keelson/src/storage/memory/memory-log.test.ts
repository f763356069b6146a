import { describe, it } from "vitest";
import { fakeEnvironment } from "../../environment/fake-environment.ts";
import { describeLogStore } from "../../testing/log-store-suite.ts";
import { memoryLog } from "./index.ts";

describeLogStore(
  "the log in memory",
  async () => {
    const store = memoryLog();
    return { environment: fakeEnvironment(), store: () => store };
  },
  { describe, it },
);
