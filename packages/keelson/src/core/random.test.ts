import { describe, expect, it } from "vitest";

import { configOf, isJoint, membersOf } from "./index.ts";
import { CoreChecker } from "../testing/core/core-checker.ts";
import { CoreHost, type MessageInTransit } from "../testing/core/core-host.ts";
import { seededRandom } from "../testing/core/core-group.ts";

const ALL = ["a", "b", "c", "d", "e", "f"];
const SEEDS = 240;
const FAULTY_STEPS = 700;
/** Enough for the slowest group to elect a leader, catch up and answer reads once the faults have ended. */
const CALM_MS = 12_000;

/** What happened in the runs, to check that they exercise what they should. */
interface Tally {
  committed: number;
  crashes: number;
  readsServed: number;
  readsFailed: number;
  compactions: number;
  installs: number;
  leaders: number;
  changes: number;
  removedLeaders: number;
  transfers: number;
  leaseReads: number;
}

/** One group under faults from one seed. When the faults end, it must recover by itself. */
class RandomRun {
  readonly #random: () => number;
  readonly #hosts: CoreHost[];
  readonly #checker = new CoreChecker();
  readonly #reads = new Map<string, number>();
  readonly #cutOff = new Set<string>();
  readonly #tally: Tally;
  readonly #dropRate: number;
  readonly #doubleRate: number;
  readonly #crashRate: number;
  readonly #founders: readonly string[];
  readonly #changeRate: number;
  readonly #checkQuorum: boolean;
  #inTransit: MessageInTransit[] = [];
  #now = 0;
  #calm = false;

  constructor(seed: number, tally: Tally) {
    const random = seededRandom(seed);
    this.#random = random;
    this.#tally = tally;
    const ids = ALL.slice(0, 1 + Math.floor(random() * 5));
    this.#founders = ids;
    this.#changeRate = random() < 0.4 ? 0 : random() * 0.05;
    const shared = { inflightMessagesMax: 1 + Math.floor(random() * 4), preVote: random() < 0.8 };
    const messageEntriesMax = 1 + Math.floor(random() * 5);
    // A removed node that does not know it can depose leaders, unless one of the two options is on.
    const checkQuorum = random() < 0.8 || !shared.preVote;
    // Nodes that are no members at first may be added later.
    const there = this.#changeRate > 0 ? ALL : ids;
    this.#hosts = there.map((id) => new CoreHost(id, random, { ...shared, messageEntriesMax, checkQuorum }));
    this.#checkQuorum = checkQuorum;
    this.#dropRate = random() * 0.2;
    this.#doubleRate = random() * 0.2;
    this.#crashRate = random() * 0.02;
    const [first] = this.#hosts;
    first!.createCluster(ids, this.#now);
    this.#drain(first!);
  }

  run(): void {
    for (let step = 0; step < FAULTY_STEPS; step++) {
      this.#step();
      this.#check();
    }
    this.#recover();
    this.#tally.committed += this.#checker.committedCount;
  }

  #step(): void {
    const dice = this.#random();
    const host = this.#pick(this.#hosts)!;
    if (dice < 0.45) this.#deliverOne();
    else if (!host.isUp) this.#restartMaybe(host, dice);
    else if (dice < 0.7) this.#writeOne(host);
    else if (dice < 0.8) this.#propose(host);
    else if (dice < 0.83) this.#read(host);
    else if (dice < 0.85) this.#compact(host);
    else if (dice < 0.87) this.#partition();
    else if (dice < 0.87 + this.#crashRate) this.#crash(host);
    else if (dice < 0.9 + this.#changeRate) this.#change(this.#aLeader() ?? host);
    else if (dice < 0.97 && this.#checkQuorum) this.#leaseRead(host);
    else this.#passTime(this.#random() * 80);
  }

  #deliverOne(): void {
    const at = Math.floor(this.#random() * this.#inTransit.length);
    const [sent] = this.#inTransit.splice(at, 1);
    if (sent !== undefined) this.#deliver(sent);
  }

  #deliver(sent: MessageInTransit): void {
    const host = this.#hosts.find(({ id }) => id === sent.to)!;
    if (!host.isUp) return;
    host.receive(sent, this.#now);
    // Several messages may arrive before the node's actions are taken.
    if (this.#calm || this.#random() < 0.7) this.#drain(host);
  }

  /** A write completes, a snapshot reaches the disk, or the node is told about one that did. */
  #writeOne(host: CoreHost): void {
    if (host.isInstalling) {
      host.finishInstall(this.#now);
      this.#tally.installs += 1;
    } else if (host.pendingWrites > 0) this.#post(host.persistOne(this.#now), host);
    else if (host.snapshotIsWanted) host.beginInstall();
    if (this.#calm || this.#random() < 0.8) this.#drain(host);
  }

  #propose(host: CoreHost): void {
    for (let count = 1 + Math.floor(this.#random() * 3); count > 0; count--) {
      host.propose(`${host.id}${this.#now}.${count}`, this.#now);
    }
    if (this.#random() < 0.7) this.#drain(host);
  }

  /** Any change that an operator could ask for, or a transfer of leadership; the node may refuse it. */
  #change(host: CoreHost): void {
    const { node } = host;
    if (this.#random() < 0.3) {
      const to = this.#random() < 0.5 ? null : this.#pick(this.#hosts)!.id;
      if (typeof node.transferLeadership(to, this.#now) === "object") this.#tally.transfers += 1;
      return;
    }
    if (this.#changeRate === 0) return;
    const roles = this.#hosts.map(({ id }) => ({ id, dice: this.#random() }));
    const voters = roles.filter(({ dice }) => dice < 0.5).map(({ id }) => id);
    const learners = roles.filter(({ dice }) => dice > 0.8).map(({ id }) => id);
    if (voters.length === 0) return;
    const proposed = host.proposeConfig(configOf(voters, learners), this.#now);
    if (typeof proposed === "string") return;
    this.#tally.changes += 1;
    if (!voters.includes(host.id)) this.#tally.removedLeaders += 1;
  }

  /** LIN: an index that the lease allows to read at covers everything that was committed anywhere. */
  #leaseRead(host: CoreHost): void {
    const index = host.node.leaseIndex(this.#now);
    if (index === null) return;
    this.#tally.leaseReads += 1;
    expect(index, "a lease read sees all that is committed").toBeGreaterThanOrEqual(
      this.#checker.committedCount,
    );
  }

  #read(host: CoreHost): void {
    this.#reads.set(`${host.id}:${host.node.readIndex(this.#now)}`, this.#checker.committedCount);
    if (this.#random() < 0.7) this.#drain(host);
  }

  #compact(host: CoreHost): void {
    const { base } = host.node.log;
    const upTo = Math.min(host.applied.length, host.node.commitIndex, host.node.durableIndex);
    if (upTo <= base.index || host.isInstalling) return;
    host.compact(base.index + 1 + Math.floor(this.#random() * (upTo - base.index)), this.#now);
    this.#tally.compactions += 1;
  }

  #partition(): void {
    this.#cutOff.clear();
    if (this.#random() < 0.5) return;
    for (const { id } of this.#hosts) if (this.#random() < 0.4) this.#cutOff.add(id);
  }

  #crash(host: CoreHost): void {
    const whole = Math.floor(this.#random() * (host.pendingWrites + 1));
    const entries = this.#random() < 0.5 ? null : Math.floor(this.#random() * 3);
    host.crash(this.#random() < 0.5 ? { whole, entries } : { whole: 0, entries: null });
    this.#tally.crashes += 1;
  }

  #restartMaybe(host: CoreHost, dice: number): void {
    if (dice < 0.6) this.#restart(host);
    else this.#passTime(this.#random() * 80);
  }

  #restart(host: CoreHost): void {
    host.restart(this.#now);
    for (const key of [...this.#reads.keys()]) if (key.startsWith(`${host.id}:`)) this.#reads.delete(key);
    this.#drain(host);
  }

  #passTime(ms: number): void {
    this.#now += ms;
    for (const host of this.#hosts) {
      if (!host.isUp || host.isInstalling || host.timer === null || host.timer > this.#now) continue;
      host.timeout(this.#now);
      this.#drain(host);
    }
  }

  #drain(host: CoreHost): void {
    this.#post(host.drain(), host);
    for (const { id, index } of host.reads.splice(0)) this.#answer(`${host.id}:${id}`, index);
  }

  /** LIN: a read sees everything that was committed anywhere when it began. */
  #answer(key: string, index: number | null): void {
    const committed = this.#reads.get(key);
    expect(committed, "a read is answered once").toBeDefined();
    this.#reads.delete(key);
    if (index === null) this.#tally.readsFailed += 1;
    else {
      this.#tally.readsServed += 1;
      expect(index, "a read sees what was committed before it").toBeGreaterThanOrEqual(committed!);
    }
  }

  #post(messages: readonly MessageInTransit[], sender: CoreHost): void {
    for (const sent of messages) {
      this.#checker.checkMessage(sent, sender, this.#hosts);
      const isCut = this.#cutOff.has(sender.id) !== this.#cutOff.has(sent.to);
      if (!this.#calm && (isCut || this.#random() < this.#dropRate)) continue;
      this.#inTransit.push(sent);
      if (!this.#calm && this.#random() < this.#doubleRate) this.#inTransit.push(sent);
    }
  }

  /** LIVE: without faults a leader is elected, all logs become equal, and every read is answered. */
  #recover(): void {
    this.#calm = true;
    for (const host of this.#hosts) if (!host.isUp) this.#restart(host);
    if (this.#hosts.every(({ memory }) => memory.length === 0)) {
      const [first] = this.#hosts;
      first!.createCluster(this.#founders, this.#now);
    }
    this.#runCalmly(CALM_MS / 2);
    const leaders = this.#hosts.filter(({ node }) => node.role === "leader");
    expect(leaders.map(({ id }) => id)).toHaveLength(1);
    this.#tally.leaders += 1;
    const read = leaders[0]!.node.readIndex(this.#now);
    this.#reads.set(`${leaders[0]!.id}:${read}`, this.#checker.committedCount);
    const { config } = leaders[0]!.node;
    expect(isJoint(config), "the change has ended").toBe(false);
    expect(leaders[0]!.propose("last", this.#now)).not.toBeNull();
    this.#runCalmly(CALM_MS / 2);
    for (const { id, applied } of this.#hosts) {
      if (!membersOf(config).includes(id)) continue;
      expect(applied.at(-1)?.payload, `the last write, applied by ${id}`).toBe("last");
    }
    expect([...this.#reads.keys()], "reads that were never answered").toEqual([]);
    expect(leaders[0]!.node.role).toBe("leader");
  }

  #runCalmly(ms: number): void {
    const end = this.#now + ms;
    while (this.#now < end) {
      for (const host of this.#hosts) {
        this.#drain(host);
        while (host.pendingWrites > 0 || host.snapshotIsWanted || host.isInstalling) {
          this.#writeOne(host);
          this.#check();
        }
      }
      for (const sent of this.#inTransit.splice(0)) {
        this.#deliver(sent);
        this.#check();
      }
      this.#check();
      if (this.#inTransit.length === 0 && this.#hosts.every(({ pendingWrites }) => pendingWrites === 0)) {
        const next = Math.min(...this.#hosts.map(({ timer }) => timer ?? Infinity));
        this.#passTime(Math.max(1, Math.min(next, end) - this.#now));
      }
    }
  }

  #check(): void {
    this.#checker.check(this.#hosts);
  }

  #aLeader(): CoreHost | undefined {
    return this.#pick(this.#hosts.filter((host) => host.isUp && host.node.role === "leader"));
  }

  #pick<T>(from: readonly T[]): T | undefined {
    return from[Math.floor(this.#random() * from.length)];
  }
}

describe("a group of cores under random faults", () => {
  it("keeps every invariant, and recovers when the faults end", { timeout: 120_000 }, () => {
    const tally: Tally = {
      committed: 0,
      crashes: 0,
      readsServed: 0,
      readsFailed: 0,
      compactions: 0,
      installs: 0,
      leaders: 0,
      changes: 0,
      removedLeaders: 0,
      transfers: 0,
      leaseReads: 0,
    };
    for (let seed = 1; seed <= SEEDS; seed++) {
      try {
        new RandomRun(seed, tally).run();
      } catch (error) {
        throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, {
          cause: error,
        });
      }
    }
    for (const [what, count] of Object.entries(tally)) expect(count, what).toBeGreaterThan(SEEDS / 20);
  });
});
