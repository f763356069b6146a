import { defaultClientConditions, defaultServerConditions } from "vite";
import { defineConfig } from "vitest/config";

// Tests run the source, not the build: see the `source` condition in the packages' exports.
const conditions = {
  resolve: { conditions: ["source", ...defaultClientConditions] },
  ssr: { resolve: { conditions: ["source", ...defaultServerConditions] } },
};

// These start real processes and measure time, so they have the machine to themselves.
const PROCESS_TESTS = ["packages/*/**/*.process.test.ts", "examples/test/*.process.test.ts"];
const NEVER = ["**/node_modules/**", "**/dist/**"];

export default defineConfig({
  test: {
    // One worker a core on the two-core machines that must run everything in under four minutes.
    maxWorkers: 2,
    pool: "forks",
    allowOnly: false,
    coverage: {
      provider: "v8",
      include: ["packages/*/src/**/*.ts"],
      exclude: ["**/*.test.ts", "**/index.ts", "**/test/**"],
      reporter: ["text-summary", "html"],
      reportsDirectory: "coverage",
    },
    projects: [
      {
        ...conditions,
        test: {
          name: "unit",
          environment: "node",
          include: [
            "packages/*/src/**/*.test.ts",
            "packages/*/test/**/*.test.ts",
            "scripts/**/*.test.ts",
            "bench/**/*.test.ts",
          ],
          exclude: [...NEVER, ...PROCESS_TESTS],
          testTimeout: 20_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        ...conditions,
        test: {
          name: "process",
          environment: "node",
          include: PROCESS_TESTS,
          exclude: NEVER,
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 30_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
