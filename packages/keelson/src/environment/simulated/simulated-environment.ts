import type { Environment, FileSystem } from "../environment.ts";
import { SimulatedClock, seededRandom } from "./simulated-clock.ts";
import { SimulatedFiles } from "./simulated-files.ts";
import { SimulatedNetwork } from "./simulated-network.ts";

/** What the wall clocks of fake hosts show when the fake clock shows 0: some day in 2023, in milliseconds. */
export const SIMULATED_EPOCH_MS = 1_700_000_000_000;

/** What the fake environments of one test have in common. */
export interface SimulatedWorld {
  readonly clock: SimulatedClock;
  readonly random: () => number;
  readonly network: SimulatedNetwork;
  /**
   * The environment of the named host; its addresses are "name:port". Hosts share clock and network,
   * and each has its own files: empty `SimulatedFiles` unless given.
   */
  environment(host: string, files?: FileSystem): SimulatedEnvironment;
}

/** A made-up world as one host sees it, with its clock and files at hand. */
export interface SimulatedEnvironment extends Environment {
  /** Moves time; see `SimulatedClock`. */
  readonly clock: SimulatedClock;
}

/** A world of several hosts in which everything depends on the seed alone. */
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
      setTimer: (delayMs, callback) => clock.setTimer(delayMs, callback),
      defer: (callback) => {
        clock.defer(callback);
      },
      files,
      network: network.host(host),
    }),
  };
}

/** A world of one host, `local` unless named otherwise. */
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
