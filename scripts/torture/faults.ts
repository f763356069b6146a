import path from "node:path";

import { Chance } from "../lib/chance.ts";
import { FaultQuota } from "./fault-quota.ts";
import { MemberChanges, OPERATIONS } from "./member-changes.ts";
import { placeOf, type Link, type LinkCondition } from "./network.ts";
import type { Servers } from "./servers.ts";
import { SmallDisk } from "./small-disk.ts";
import type { WriteGaps } from "./write-gaps.ts";

/** Seconds without a fault of the same lane, between two of them. */
const REST_S = { processes: [1, 7], network: [2, 9], disk: [20, 60], members: [1, 8] } as const;
/**
 * Most faults wait until writes succeed again after the last fault, at most for this long; some don't wait.
 */
const RECOVERY_MS_MAX = 20_000;
const UNRECOVERED_OFTEN = 0.2;
/** How many seconds a fault lasts. */
const LENGTH_S = [0.3, 8] as const;
const SLOW_DELAY_MS = [20, 250] as const;

type Lane = keyof typeof REST_S;

/** A fault, as derived from the seed. Which node it meets may depend on the leader at that time. */
export interface PlannedFault {
  readonly kind: string;
  readonly lane: Lane;
  readonly restMs: number;
  readonly lengthMs: number;
  /** Whether the fault comes without waiting for the effects of the last one to end. */
  readonly isImpatient: boolean;
  /** A random number that decides which node it meets. */
  readonly whom: number;
  readonly delayMs: number;
}

const PROCESS_FAULTS = [
  "kill the leader",
  "kill the leader",
  "kill one",
  "kill two",
  "kill all",
  "pause the leader",
  "pause one",
  "pause two",
  "stop the leader",
  "stop one",
  "rolling restart",
] as const;

const NETWORK_FAULTS = [
  "isolate the leader",
  "isolate one",
  "one way only",
  "split",
  "bridge",
  "slow",
] as const;

/** The endless sequence of a lane's faults; the same for the same seed. */
export function* plan(seed: number, lane: Lane, kinds: readonly string[]): Generator<PlannedFault> {
  const chance = new Chance(seed, { processes: 1, network: 2, disk: 3, members: 4 }[lane]);
  const seconds = ([from, to]: readonly [number, number]): number =>
    Math.round(1000 * (from + chance.next() * (to - from)));
  for (;;) {
    yield {
      kind: chance.pick(kinds),
      lane,
      restMs: seconds(REST_S[lane]),
      lengthMs: seconds(LENGTH_S),
      isImpatient: chance.often(UNRECOVERED_OFTEN),
      whom: chance.next(),
      delayMs: chance.between(...SLOW_DELAY_MS),
    };
  }
}

/**
 * Carries out the planned faults. The faults of one lane come one after another; those of different lanes
 * overlap.
 */
export class Faults {
  readonly counts = new Map<string, number>();
  readonly members: MemberChanges;
  readonly #servers: Servers;
  readonly #writeGaps: WriteGaps;
  readonly #say: (text: string) => void;
  readonly #quota: FaultQuota;
  readonly #end = new AbortController();
  readonly #lanes: Promise<void>[] = [];

  constructor(seed: number, servers: Servers, writeGaps: WriteGaps, say: (text: string) => void) {
    this.#servers = servers;
    this.#writeGaps = writeGaps;
    this.#say = say;
    this.#quota = new FaultQuota(() => servers.nodes);
    this.members = new MemberChanges(servers, this.#quota, say, (ms) => this.#pause(ms));
    this.#lanes.push(this.#run(plan(seed, "processes", PROCESS_FAULTS)));
    this.#lanes.push(this.#run(plan(seed, "network", networkFaults(servers.network.conditions))));
    this.#lanes.push(this.#run(plan(seed, "members", OPERATIONS)));
    if (servers.smallDisk instanceof SmallDisk)
      this.#lanes.push(this.#run(plan(seed, "disk", ["full disk"])));
  }

  /** Ends all faults early, and undoes their effects. */
  async end(): Promise<void> {
    this.#end.abort();
    await Promise.all(this.#lanes);
    await this.#servers.network.heal();
    if (this.#servers.smallDisk instanceof SmallDisk) this.#servers.smallDisk.free();
    for (const { state, process } of this.#servers.nodes) {
      if (state === "member") process.mayStop = false;
      process.resume();
      process.start();
    }
  }

  async #run(faults: Iterable<PlannedFault>): Promise<void> {
    for (const fault of faults) {
      if (!fault.isImpatient) await this.#recovered();
      await this.#pause(fault.restMs);
      if (this.#end.signal.aborted) return;
      this.#writeGaps.begin(fault.kind);
      try {
        if (await this.#do(fault)) this.counts.set(fault.kind, (this.counts.get(fault.kind) ?? 0) + 1);
      } finally {
        this.#writeGaps.end(fault.kind);
      }
    }
  }

  /** Resolves when a write is acknowledged that began after this call. */
  async #recovered(): Promise<void> {
    const before = this.#writeGaps.writes;
    const deadline = performance.now() + RECOVERY_MS_MAX;
    while (this.#writeGaps.writes === before && performance.now() < deadline && !this.#end.signal.aborted)
      await this.#pause(100);
  }

  /** Returns false if the fault could not be carried out now. */
  async #do(fault: PlannedFault): Promise<boolean> {
    if (fault.lane === "members")
      return this.members.do(fault.kind, fault.whom, () => this.#end.signal.aborted);
    const leader = await this.#servers.leader();
    if (fault.lane === "network") return this.#disturb(fault, leader);
    if (fault.kind === "rolling restart") return this.#restartInTurn(fault.whom);
    const ids = this.#claim(fault, leader);
    if (ids === null) return false;
    this.#say(
      `${fault.kind}: ${ids.join(", ")}${leader === null ? "" : ` (${leader} leads)`}, ${seconds(fault.lengthMs)}`,
    );
    try {
      if (fault.kind === "full disk") await this.#fillDisk(ids[0] ?? "", fault.lengthMs);
      else if (fault.kind.startsWith("pause")) await this.#sleep(ids, fault.lengthMs);
      else await this.#stop(ids, fault.kind.startsWith("kill") ? "kill" : "close", fault.lengthMs);
    } finally {
      this.#quota.release(ids);
    }
    return true;
  }

  /** The nodes that the fault meets: as many of the intended ones as may be faulty now. */
  #claim({ kind, whom }: PlannedFault, leader: string | null): readonly string[] | null {
    if (kind === "kill all") return this.#quota.claimAll();
    if (kind.endsWith("the leader")) return leader === null ? null : this.#claimFirst([leader], 1);
    const { nodes, smallDisk } = this.#servers;
    if (kind === "full disk") {
      // If there is another node on its place that joins or leaves, leave that one alone.
      const onIt = nodes.find(
        ({ directory, state }) =>
          smallDisk instanceof SmallDisk && isBelow(directory, smallDisk) && state === "member",
      );
      return onIt === undefined ? null : this.#claimFirst([onIt.id], 1);
    }
    const ids = nodes.filter(({ process }) => process.isRunning).map(({ id }) => id);
    const free = turnedBy(ids, whom).filter((id) => !this.#quota.isFaulty(id));
    return this.#claimFirst(free, kind.endsWith("two") ? 2 : 1);
  }

  #claimFirst(ids: readonly string[], countMax: number): readonly string[] | null {
    for (let count = Math.min(countMax, ids.length); count > 0; count--) {
      const some = ids.slice(0, count);
      if (this.#quota.claim(some)) return some;
    }
    return null;
  }

  async #stop(ids: readonly string[], how: "kill" | "close", ms: number): Promise<void> {
    const processes = ids.map((id) => this.#servers.process(id));
    await Promise.all(processes.map((process) => process[how]()));
    await this.#pause(ms / 2);
    for (const process of processes) process.start();
  }

  async #sleep(ids: readonly string[], ms: number): Promise<void> {
    const processes = ids.map((id) => this.#servers.process(id));
    for (const process of processes) process.pause();
    await this.#pause(ms);
    for (const process of processes) process.resume();
  }

  /** Each node that exists and may be stopped when its turn comes. */
  async #restartInTurn(whom: number): Promise<boolean> {
    const ids = turnedBy(this.#servers.ids, whom);
    this.#say(`rolling restart: ${ids.join(", ")}`);
    for (const id of ids) {
      if (this.#end.signal.aborted) return true;
      if (!this.#servers.has(id) || !this.#quota.claim([id])) continue;
      try {
        const process = this.#servers.process(id);
        await process.close();
        process.start();
        await this.#pause(2000);
      } finally {
        this.#quota.release([id]);
      }
    }
    return true;
  }

  async #fillDisk(id: string, ms: number): Promise<void> {
    const disk = this.#servers.smallDisk;
    if (!(disk instanceof SmallDisk)) return;
    const node = this.#servers.node(id);
    const { process } = node;
    process.mayStop = true;
    disk.fill();
    await this.#pause(3 * ms);
    const stopped = !process.isRunning;
    disk.free();
    // Whether or not the node stopped: it must not have acknowledged what it could not write. A restart shows
    // what it has.
    await process.kill();
    process.mayStop = node.state !== "member";
    process.start();
    this.#say(`full disk: ${id} ${stopped ? "had stopped by itself" : "had gone on"}; it has room again`);
  }

  async #disturb(fault: PlannedFault, leader: string | null): Promise<boolean> {
    const { network, ids } = this.#servers;
    const isLeader = fault.kind.endsWith("the leader");
    if (isLeader && leader === null) return false;
    const one = isLeader ? (leader ?? "") : (ids[Math.floor(fault.whom * ids.length)] ?? "");
    const type = fault.kind.startsWith("slow") ? "slow" : fault.kind.startsWith("stall") ? "stall" : "cut";
    const condition: LinkCondition = type === "slow" ? { type, delayMs: fault.delayMs } : { type };
    const links = linksOf(fault.kind, ids.map(placeOf), placeOf(one));
    this.#say(
      `${fault.kind}: ${one} (${leader ?? "nobody"} leads), ${type === "slow" ? `${fault.delayMs} ms, ` : ""}${seconds(fault.lengthMs)}`,
    );
    await network.set(links, condition);
    await this.#pause(fault.lengthMs);
    await network.heal();
    return true;
  }

  #pause(ms: number): Promise<void> {
    const { signal } = this.#end;
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      if (signal.aborted) done();
      else signal.addEventListener("abort", done);
    });
  }
}

function isBelow(directory: string, disk: SmallDisk): boolean {
  return path.dirname(directory) === disk.directory;
}

function turnedBy(ids: readonly string[], whom: number): string[] {
  const turn = Math.floor(whom * ids.length);
  return [...ids.slice(turn), ...ids.slice(0, turn)];
}

/** Every link that can be cut can also be stalled, if the network distinguishes the two. */
function networkFaults(conditions: readonly LinkCondition["type"][]): string[] {
  const kinds: string[] = [...NETWORK_FAULTS];
  if (conditions.includes("stall"))
    kinds.push("stall, isolate the leader", "stall, one way only", "stall, split");
  return kinds;
}

/** The links that a fault around a node disturbs; each direction is a link of its own. */
function linksOf(kind: string, ids: readonly string[], one: string): Link[] {
  const at = ids.indexOf(one);
  const turned = [...ids.slice(at), ...ids.slice(0, at)];
  const half = Math.floor(ids.length / 2);
  const all = ids.flatMap((from) => ids.filter((to) => to !== from).map((to) => ({ from, to })));
  if (kind === "slow") return all;
  if (kind.endsWith("one way only")) return all.filter(({ from }) => from === one);
  if (kind.endsWith("split")) {
    const side = new Set(turned.slice(0, half));
    return all.filter(({ from, to }) => side.has(from) !== side.has(to));
  }
  if (kind.endsWith("bridge")) {
    // Two halves that can't reach each other, and one node that reaches both.
    const side = new Set(turned.slice(1, 1 + half));
    return all.filter(({ from, to }) => from !== one && to !== one && side.has(from) !== side.has(to));
  }
  return all.filter(({ from, to }) => from === one || to === one);
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
