import type { Environment, FileSystem } from "./environment.ts";
import { FakeClock, seededRandom } from "./fake-clock.ts";
import { FaultFiles } from "./fault-files.ts";
import { FaultNetwork } from "./fault-network.ts";

/** What the wall clocks of fake hosts show when the fake clock shows 0: some day in 2023, in milliseconds. */
export const FAKE_EPOCH = 1_700_000_000_000;

/** What the fake environments of one test have in common. */
export interface FakeWorld {
  readonly clock: FakeClock;
  readonly random: () => number;
  readonly network: FaultNetwork;
  /**
   * The environment of the named host; its addresses are "name:port". Hosts share clock and network,
   * and each has its own files: empty `FaultFiles` unless given.
   */
  environment(host: string, files?: FileSystem): FakeEnvironment;
}

/** A made-up world as one host sees it, with its clock and files at hand. */
export interface FakeEnvironment extends Environment {
  /** Moves time; see `FakeClock`. */
  readonly clock: FakeClock;
}

/** A world of several hosts in which everything depends on the seed alone. */
export function fakeWorld({ seed = 1 }: { readonly seed?: number } = {}): FakeWorld {
  const clock = new FakeClock();
  const random = seededRandom(seed);
  const network = new FaultNetwork(clock, random);
  return {
    clock,
    random,
    network,
    environment: (host, files = new FaultFiles()) => ({
      clock,
      now: () => clock.now(),
      wallClock: () => FAKE_EPOCH + clock.now(),
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
export function fakeEnvironment({
  seed = 1,
  host = "local",
  files,
}: {
  readonly seed?: number;
  readonly host?: string;
  readonly files?: FileSystem;
} = {}): FakeEnvironment {
  return fakeWorld({ seed }).environment(host, files);
}
