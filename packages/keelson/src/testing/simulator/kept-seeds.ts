/** Seeds that once failed, in the library or in the simulator. They run with every test. */

/** A seed, and what failed. */
export interface KeptSeed {
  readonly seed: number;
  /** What went wrong: what the code or the simulator did, in which situation. */
  readonly why: string;
}

/**
 * When a change of `planOf` gives one of these another plan, the seed no longer shows its bug and can be
 * removed.
 */
export const KEPT_SEEDS: readonly KeptSeed[] = [
  { seed: 42, why: "the disk of the only initializer was damaged before another node held the first entry" },
  { seed: 100084, why: "a node that stopped just after the run healed was never started again" },
  { seed: 101985, why: "a process that died while starting took the address from the next process" },
  { seed: 3024, why: "a member that had lost its disk was heard again before its removal was committed" },
  { seed: 2020, why: "a refused leadership transfer was repeated at the same instant, without end" },
  { seed: 201659, why: "after a pause, new bytes of a stream overtook bytes that had been waiting" },
  { seed: 700421, why: "a leader moved to another address, and followers kept answering to the old one" },
  {
    seed: 700645,
    why: "a node committed a change and closed in one turn, and the checker missed the commit",
  },
  { seed: 339, why: "a process died during the call that asked it for a snapshot, and the call never ended" },
  { seed: 803250, why: "the sole voter left by a removed leader didn't wait for the end of its lease" },
  {
    seed: 806235,
    why: "clients that took roles from a slow change stream believed that a leader had stepped down",
  },
  {
    seed: 830259,
    why: "a closing node replaced entries in its last turn, and its store was never given them",
  },
  { seed: 801092, why: "a read that no one waited for any more took another read's place in the queue" },
  { seed: 3529, why: "the caller of the last transfer gave up before each transfer was done" },
  { seed: 7258, why: "a node kept campaigning after an installed snapshot had made it a learner" },
  {
    seed: 7139,
    why: "the state machine of a dead process went on, and stored effects that were never reported",
  },
  { seed: 5028, why: "one read of a log in hundreds of segments took as long as a hanging disk" },
  {
    seed: 4779,
    why: "a node overwrote entries while it installed a snapshot, and its commit was compared with the old ones",
  },
  {
    seed: 27,
    why: "an installation failed, and the next leader's older snapshot was fetched and removed again and again",
  },
  {
    seed: 4574,
    why: "a node without file handles did not start, and the simulator did not know that error of its own disk",
  },
  {
    seed: 6,
    why: "a log was not compacted for a fetched snapshot that could not be installed, once its entries had come",
  },
  {
    seed: 648,
    why: "a node answered no leader of an earlier term that its own configuration didn't name, which never stepped down",
  },
  {
    seed: 2838,
    why: "a timer fired a rounding error before its time, and the snapshot that it was set for was never taken",
  },
  {
    seed: 9630,
    why: "a log was not compacted for a fetched snapshot whose entries had come before it was complete",
  },
  { seed: 396, why: "a resumed session called a command not done that had taken effect, as it was settled" },
  { seed: 75, why: "a node noted the id of each snapshot that it had taken, and forgot none" },
];
