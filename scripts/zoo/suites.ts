import { SimulatedFiles } from "../../packages/keelson/src/environment/simulated/simulated-files.ts";
import {
  simulatedEnvironment,
  simulatedWorld,
} from "../../packages/keelson/src/environment/simulated/simulated-environment.ts";
import { wal } from "../../packages/keelson/src/storage/wal/index.ts";
import { logStoreCases } from "../../packages/keelson/src/testing/suites/log-store-suite.ts";
import {
  transportCases,
  type TransportRig,
} from "../../packages/keelson/src/testing/suites/transport-suite.ts";
import { memoryNetwork, memoryTransport } from "../../packages/keelson/src/transport/memory/index.ts";
import { MEMORY_CASES } from "./memory-suite.ts";
import { PEER_CASES } from "./peer-suite.ts";
import { STORAGE_CASES } from "./storage-suite.ts";

/** Runs the transport suite. Resolves with the name of the first case that fails; null: none. */
export async function transportSuite(): Promise<string | null> {
  for (const { name, run } of transportCases) {
    try {
      await run(transportRig());
    } catch {
      return name;
    }
  }
  return null;
}

/** Runs the log store suite. Resolves with the name of the first case that fails; null: none. */
export async function logStoreSuite(): Promise<string | null> {
  for (const { name, run } of logStoreCases) {
    try {
      await run(() => {
        const environment = simulatedEnvironment({ files: new SimulatedFiles() });
        return Promise.resolve({ environment, store: () => wal("/data/a", { segmentBytes: 16 * 1024 }) });
      });
    } catch {
      return name;
    }
  }
  return null;
}

/** Runs the storage suite. Resolves with the name and error of the first case that fails; null: none. */
export function storageSuite(): Promise<string | null> {
  return firstFailure(STORAGE_CASES);
}

/** Runs the memory suite. Resolves with the name and error of the first case that fails; null: none. */
export function memorySuite(): Promise<string | null> {
  return firstFailure(MEMORY_CASES);
}

/** Runs the peer suite. Resolves with the name and error of the first case that fails; null: none. */
export function peerSuite(): Promise<string | null> {
  return firstFailure(PEER_CASES);
}

async function firstFailure(
  cases: readonly { readonly name: string; readonly run: () => Promise<void> }[],
): Promise<string | null> {
  for (const { name, run } of cases) {
    try {
      await run();
    } catch (error) {
      return `${name}: ${String(error)}`;
    }
  }
  return null;
}

function transportRig(): TransportRig {
  const network = memoryNetwork();
  const world = simulatedWorld();
  return {
    environment: (node) => world.environment(node),
    transport: (node) => memoryTransport(network, `at ${node}`),
    until: async (condition, what) => {
      for (let ms = 0; !condition(); ms++) {
        if (ms === 1_000) throw new Error(`${what} did not come about`);
        await world.clock.advance(1);
      }
    },
    quiet: () => world.clock.advance(10),
    assertNothingLeft: () => {
      if (world.clock.pendingTimers > 0) throw new Error("a timer is left");
    },
  };
}
