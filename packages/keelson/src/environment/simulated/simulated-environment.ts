// The simulated environment, put together of a clock, files and a network that depend only on a seed.
import type { Environment, FileSystem } from "../environment.ts";
import { SimulatedClock, seededRandom } from "./simulated-clock.ts";
import { SimulatedFiles } from "./simulated-files.ts";
import { SimulatedNetwork } from "./simulated-network.ts";

/** What `wallClock` returns when the simulated clock is at 0, in milliseconds: a day in 2023. */
export const SIMULATED_EPOCH_MS = 1_700_000_000_000;

/** What the simulated hosts of one test share. */
export interface SimulatedWorld {
  readonly clock: SimulatedClock;
  /** Random numbers in [0, 1), from the world's seed. */
  readonly random: () => number;
  readonly network: SimulatedNetwork;
  /**
   * The environment of the host with this name, whose addresses are "name:port". Hosts share the clock, the
   * random numbers and the network. Each has files of its own: those given, else new `SimulatedFiles`.
   */
  environment(host: string, files?: FileSystem): SimulatedEnvironment;
}

/** The environment of one simulated host. */
export interface SimulatedEnvironment extends Environment {
  /** Moves time: see `SimulatedClock`. */
  readonly clock: SimulatedClock;
}

/**
 * Creates a clock, random numbers and a network for several simulated hosts. A program that uses nothing else
 * runs the same way each time for the same seed.
 */
export function simulatedWorld({ seed = 1 }: { readonly seed?: number } = {}): SimulatedWorld {
  const clock = new SimulatedClock();
  const random = seededRandom(seed);
  const network = new SimulatedNetwork(clock, random);
  return {
    clock,
    random,
    network,
    environment: (host, files = new SimulatedFiles()) => ({
      clock,
      now: () => clock.now(),
      wallClock: () => SIMULATED_EPOCH_MS + clock.now(),
      random,
      randomBytes: (count) => Uint8Array.from({ length: count }, () => Math.floor(random() * 256)),
      setTimer: (delayMs, callback) => clock.setTimer(delayMs, callback),
      defer: (callback) => {
        clock.defer(callback);
      },
      files,
      network: network.host(host),
    }),
  };
}

/** Creates the environment of a single simulated host, which is called "local" unless `host` is given. */
export function simulatedEnvironment({
  seed = 1,
  host = "local",
  files,
}: {
  readonly seed?: number;
  readonly host?: string;
  readonly files?: FileSystem;
} = {}): SimulatedEnvironment {
  return simulatedWorld({ seed }).environment(host, files);
}
