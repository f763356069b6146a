/** Carries out the faults that hit whichever node leads when they happen. */
import { isJoint, membersOf } from "../../../core/config.ts";
import type { SimClients } from "../clients/sim-clients.ts";
import type { SimOperator } from "../clients/sim-operator.ts";
import type { Chance } from "../plan/chance.ts";
import type { BusyReceiversFault, Fault, HandoverTarget } from "../plan/faults.ts";
import type { Plan } from "../plan/plan.ts";
import type { SimProcess } from "../world/sim-process.ts";
import { snapshotDiskError } from "./disk-errors.ts";
import { linksOf, type NetworkFaults } from "./network-faults.ts";
import { hold } from "./overlapping.ts";

/**
 * How late timers may be, at most: less than the time by which a call may pass its limit (`CALL_GRACE_MS`),
 * or the checker would take a late call for one that never ends.
 */
const TIMERS_LATE_MS_MAX = 800;

/** How many writes a leader is given while its disk hangs. */
const STALLED_WRITES = 2;

const ISOLATED_DISK_DELAY_MS = 100;

/**
 * The disk fault lasts so much longer than the cut: the next leader then replaces entries whose writes are
 * under way.
 */
const DISK_FAULT_OUTLASTS_CUT_MS = 100;

/**
 * How long the fault waits for a follower to begin a fetch once the cut has ended; after that it does
 * nothing.
 */
const FETCH_WAIT_MS = 1_000;

/**
 * For how many milliseconds at most a fetch is held up, and its node slow: too short for a part to count as
 * stalled.
 */
const CONTEST_MS = 600;

/** The interval at which a node is looked at for the moment to strike, in milliseconds. */
const POLL_MS = 1;

/** How long the followers have to get a backlog on disk before they are cut off. */
const BACKLOG_MS = 60;

/**
 * How much time a leader gets to take a snapshot and to compact its log before a follower hears it again, in
 * milliseconds.
 */
const SNAPSHOT_MS = 50;

/** How long a removal may take until the leader acts on it, and how often to look, in milliseconds. */
const REMOVAL_MS_MAX = 400;
const REMOVAL_POLL_MS = 1;

export interface LeaderFaultsParts {
  readonly plan: Plan;
  readonly chance: Chance;
  readonly processes: readonly SimProcess[];
  readonly clients: SimClients;
  readonly operator: SimOperator;
  readonly network: NetworkFaults;
  /** Crashes a process, which is started again after a fixed delay. */
  readonly crash: (process: SimProcess) => void;
  /** Calls back after a time, unless the run has healed by then. */
  readonly after: (ms: number, then: () => void) => void;
}

/** See the file's header. */
export class LeaderFaults {
  readonly #parts: LeaderFaultsParts;

  constructor(parts: LeaderFaultsParts) {
    this.#parts = parts;
  }

  /** Cuts the leader off with a minority, while clients that don't know it keep calling it. */
  strand(fault: Extract<Fault, { type: "strand-leader" }>): void {
    const leader = this.#leaderOfHighestTerm();
    if (leader === -1) return;
    const { processes, clients, plan, network, after } = this.#parts;
    const process = processes[leader];
    if (process === undefined) return;
    const side = this.#sideOf(leader, fault.companions);
    const { clockConditions } = process;
    const heartbeatMs = plan.heartbeatMs / clockConditions.rate;
    const ends: (() => void)[] = [];
    if (fault.lateTimers) {
      const lateByMs = Math.min(2 * fault.ms, TIMERS_LATE_MS_MAX);
      ends.push(hold(clockConditions, "timersLateByMsMax", lateByMs, 0));
      ends.push(hold(clockConditions, "timersLateShareMin", 0.7, 0));
    }
    const stunned = fault.stunned
      ? processes.filter((_, node) => node !== leader && side.includes(node))
      : [];
    const resumes = stunned.map((companion) => companion.pause());
    if (fault.stunned) clients.burst(process, fault.writes);
    // Cut the links only when the leader's next heartbeat has been due, so that the followers hear the leader
    // once more, and have what it wrote before this fault. That heartbeat isn't late, even with `lateTimers`:
    // its timer is running already. `answersMs` is added because the answers to it take so much longer.
    const leadMs = heartbeatMs + fault.answersMs;
    if (fault.answersMs > 0) after(leadMs + fault.ms, network.delayTo(process, fault.answersMs));
    after(leadMs, () => {
      const links = linksOf({ ...fault, type: "partition", side, oneWay: false }, processes.length);
      const end = network.cut(links);
      const isContested = (): boolean =>
        fault.untilAsking !== undefined && processes.filter(asksForVotes).length >= fault.untilAsking;
      if (fault.untilAsking === undefined) after(fault.ms, end);
      else this.#when(isContested, fault.ms, end);
      clients.burst(process, fault.writes);
    });
    const stopReading =
      fault.readsAfterMs === null
        ? (): void => undefined
        : clients.readRepeatedly(process, leadMs + fault.readsAfterMs);
    // Any call would wake the leader, and it would notice the cut. Only the late reads may do that.
    if (fault.lateTimers && fault.readsAfterMs !== null) ends.push(hold(clients, "avoided", process, null));
    after(leadMs + fault.ms, () => {
      for (const end of ends) end();
      stopReading();
    });
    after(2 * heartbeatMs + leadMs + fault.ms, () => {
      for (const resume of resumes) resume();
    });
  }

  /** Isolates the leader, with clients, and with a disk that may be slow or hang. */
  isolate({ disk, ms }: Extract<Fault, { type: "lonely-leader" }>): void {
    const { processes, network, after } = this.#parts;
    const node = processes.findIndex(leads);
    const leader = processes[node];
    if (leader === undefined) return;
    const { diskConditions } = leader;
    const links = linksOf({ type: "partition", at: 0, side: [node], oneWay: false, ms }, processes.length);
    after(ms, network.cut(links));
    if (disk === "well") return;
    leader.diskWasSlow = true;
    const end =
      disk === "slow"
        ? hold(diskConditions, "extraDelayMs", ISOLATED_DISK_DELAY_MS, 0)
        : hold(diskConditions, "hangs", true, false);
    after(ms + DISK_FAULT_OUTLASTS_CUT_MS, end);
  }

  /**
   * The leader transfers leadership. Messages to it are delayed from when it has sent TimeoutNow, so it may
   * go on leading beside its successor until it hears of that one.
   */
  transferAndDelay(ms: number): void {
    const leader = this.#parts.processes.find(leads);
    if (leader === undefined) return;
    leader.onTimeoutNowSent = () => {
      leader.onTimeoutNowSent = null;
      this.delayMessagesTo(leader, ms);
    };
    this.#parts.operator.transfer();
  }

  /** See the fault `deaf-handover`. */
  transferInVain(hears: Exclude<HandoverTarget, "hears">, ms: number): void {
    const { processes, operator, network, clients, plan, after } = this.#parts;
    const node = processes.findIndex(leads);
    const leader = processes[node];
    if (leader === undefined) return;
    // The leader gives up after the longest election timeout.
    const givesUpMs = plan.electionTimeoutMs.max / leader.clockConditions.rate;
    leader.onTimeoutNowSent = (to) => {
      leader.onTimeoutNowSent = null;
      const target = processes.findIndex(({ id }) => id === to);
      const process = processes[target];
      if (process === undefined) return;
      if (hears === "never hears") {
        after(ms, network.cut([[node, target]]));
        after(ms, clients.readRepeatedly(leader, givesUpMs));
        return;
      }
      after(givesUpMs + plan.heartbeatMs, network.delayTo(process, ms));
      after(givesUpMs + plan.heartbeatMs, () => {
        operator.requestChange({ type: "change", how: "demote", crashLeaderAfterMs: null });
      });
    };
    const others = processes.filter(({ id }) => id !== leader.id && leader.core?.config.voters.includes(id));
    operator.transfer(leader, hears === "never hears" ? undefined : this.#parts.chance.pick(others).id);
  }

  /**
   * Delays all messages to the process by `ms`, for `ms`. Meanwhile only one client calls it, which reads
   * from it again and again.
   */
  delayMessagesTo(process: SimProcess, ms: number): void {
    const { clients, network, after } = this.#parts;
    const endAvoiding = hold(clients, "avoided", process, null);
    const stopReading = clients.readRepeatedly(process, 0);
    const hearAgain = network.delayTo(process, ms);
    after(ms, () => {
      hearAgain();
      endAvoiding();
      stopReading();
    });
  }

  /** The leader's disk hangs while it has entries to write. Its network works. */
  stall(ms: number): void {
    const { processes, clients, after } = this.#parts;
    const leader = processes.find(leads);
    if (leader === undefined) return;
    const end = hold(leader.diskConditions, "hangs", true, false);
    leader.diskWasSlow = true;
    clients.burst(leader, STALLED_WRITES);
    after(ms, end);
  }

  /** See the fault. */
  interruptChange(fault: Extract<Fault, { type: "interrupt-change" }>): void {
    const { processes, chance, network, operator, after } = this.#parts;
    const node = this.#leaderOfHighestTerm();
    const leader = processes[node];
    if (leader === undefined) return;
    operator.requestChange({ type: "change", how: fault.how, crashLeaderAfterMs: null });
    let stepsLeft = fault.step;
    leader.onConfigAppended = () => {
      stepsLeft -= 1;
      if (stepsLeft > 0) return;
      leader.onConfigAppended = null;
      const others = chance.shuffled([...processes.keys()].filter((other) => other !== node));
      const unreached = others.slice(fault.reached);
      after(fault.ms, network.cut(unreached.map((other) => [node, other] as const)));
      const hearAgain = network.cut(unreached.map((other) => [other, node] as const));
      const { hearsSuccessorAfterMs } = fault;
      if (hearsSuccessorAfterMs === undefined) after(fault.ms, hearAgain);
      else {
        const isReplaced = (): boolean => this.#leaderOfHighestTerm() !== node;
        this.#when(isReplaced, fault.ms - hearsSuccessorAfterMs, () => {
          after(hearsSuccessorAfterMs, hearAgain);
        });
      }
      if (fault.crashAfterMs === null) return;
      after(fault.crashAfterMs, () => {
        if (leader.isUp) this.#parts.crash(leader);
      });
    };
  }

  /** See the fault. */
  failInstallation(fault: Extract<Fault, { type: "failed-installation" }>): void {
    const { error, hasOlder, ms, pauseMs } = fault;
    const { processes, chance, network, operator, after } = this.#parts;
    const leader = processes.find(leads);
    if (leader === undefined || processes.length < 3) return;
    const follower = chance.pick(processes.filter((process) => process !== leader));
    const side = [processes.indexOf(follower)];
    const links = linksOf({ type: "partition", at: 0, side, oneWay: false, ms }, processes.length);
    after(ms + SNAPSHOT_MS, network.cut(links));
    const others = processes.filter((process) => process !== leader && process !== follower);
    after(ms / 2, () => {
      if (hasOlder) for (const other of others) operator.snapshot(other);
    });
    after(ms, () => {
      operator.snapshot(leader);
    });
    follower.onSnapshotRename = (isReceived) => {
      if (!isReceived) return;
      follower.onSnapshotRename = null;
      const failing = snapshotDiskError(error, 0);
      follower.diskFaults.next = (operation) => {
        const found = failing(operation);
        // The pause begins in an event of its own, as this callback is a part of the operation on the file.
        if (found !== null) {
          after(0, () => {
            after(pauseMs, leader.pause());
          });
        }
        return found;
      };
    };
  }

  /** See the fault. */
  contestFetch(fault: Extract<Fault, { type: "contested-fetch" }>): void {
    const { processes, chance, network, operator, after } = this.#parts;
    const leader = processes.find(leads);
    if (leader === undefined || processes.length < 3) return;
    const follower = chance.pick(processes.filter((process) => process !== leader));
    const next = chance.pick(processes.filter((process) => process !== leader && process !== follower));
    const side = [processes.indexOf(follower)];
    const links = linksOf({ type: "partition", at: 0, side, oneWay: false, ms: fault.ms }, processes.length);
    after(fault.ms + SNAPSHOT_MS, network.cut(links));
    after(fault.ms, () => {
      operator.snapshot(leader);
    });
    const isFetching = (): boolean => follower.raft?.metrics().snapshots?.receiving?.phase === "fetching";
    after(fault.ms + SNAPSHOT_MS, () => {
      this.#when(isFetching, FETCH_WAIT_MS, (isOver) => {
        if (isOver) return;
        operator.transfer(leader, next.id);
        this.#holdUpInstallation(follower, leader, fault);
      });
    });
  }

  /**
   * See the fault: a snapshot of `source` is complete at `follower` later than the entries that it covers.
   */
  #holdUpInstallation(
    follower: SimProcess,
    source: SimProcess,
    { logDelayMs, applyDelayMs, until, entriesLeft }: Extract<Fault, { type: "contested-fetch" }>,
  ): void {
    const { diskConditions, machineConditions } = follower;
    const { after } = this.#parts;
    const covered = source.raft?.metrics().snapshots?.newest?.index ?? 0;
    const hasEntries = (): boolean => {
      const metrics = follower.raft?.metrics();
      const index = until === "log" ? metrics?.lastIndex : metrics?.appliedIndex;
      return (index ?? Infinity) >= covered - entriesLeft;
    };
    if (logDelayMs > 0) follower.diskWasSlow = true;
    after(CONTEST_MS, hold(diskConditions, "logDelayMs", logDelayMs, 0));
    after(CONTEST_MS, hold(machineConditions, "delayMs", applyDelayMs, 0));
    follower.onSnapshotRename = (isReceived) => {
      if (!isReceived) return;
      follower.onSnapshotRename = null;
      follower.snapshotsHung = true;
      const release = hold(diskConditions, "snapshotsHang", true, false);
      this.#when(hasEntries, CONTEST_MS, release);
    };
  }

  /**
   * Calls back as soon as the condition holds, or with true after so long, unless the run has healed by then.
   */
  #when(condition: () => boolean, limitMs: number, then: (isOver: boolean) => void): void {
    if (condition()) then(false);
    else if (limitMs <= 0) then(true);
    else {
      this.#parts.after(POLL_MS, () => {
        this.#when(condition, limitMs - POLL_MS, then);
      });
    }
  }

  /** See the fault. */
  keepReceiversBusy(fault: BusyReceiversFault): void {
    const { processes, chance, clients, network, operator, after } = this.#parts;
    const leader = processes.find(leads);
    if (leader === undefined) return;
    const members = leader.raft?.metrics().config.voters ?? [];
    const followers = processes.filter((one) => one !== leader && members.includes(one.id));
    const count = Math.min(fault.receivers, (members.length - 1) >> 1);
    const receivers = chance.shuffled(followers).slice(0, count);
    for (const { machineConditions } of receivers) {
      after(fault.busyMs, hold(machineConditions, "delayMs", fault.applyMs, 0));
      after(fault.busyMs, hold(machineConditions, "restoreMs", fault.restoreMs, 0));
    }
    clients.bulk(leader, fault.backlog);
    after(BACKLOG_MS, () => {
      const side = receivers.map((receiver) => processes.indexOf(receiver));
      const links = linksOf(
        { type: "partition", at: 0, side, oneWay: false, ms: fault.ms },
        processes.length,
      );
      after(fault.ms + SNAPSHOT_MS, network.cut(links));
      clients.bulk(leader, fault.writes);
    });
    after(BACKLOG_MS + fault.ms, () => {
      operator.snapshot(leader);
    });
    if (fault.handsOverAfterMs !== null) {
      after(BACKLOG_MS + fault.ms + SNAPSHOT_MS + fault.handsOverAfterMs, () => {
        operator.transfer();
      });
    }
    if (!fault.takesOwn) return;
    for (const receiver of receivers) {
      after(BACKLOG_MS + fault.ms + SNAPSHOT_MS, () => {
        operator.snapshot(receiver);
      });
      receiver.onSnapshotRename = (isReceived) => {
        if (!isReceived) return;
        receiver.onSnapshotRename = null;
        // The snapshot is asked for in an event of its own, as this callback is a part of the operation on
        // the file.
        after(0, () => {
          operator.snapshot(receiver);
        });
      };
    }
  }

  /** See the fault. */
  leaveWithoutVoters({ hears, ms }: Extract<Fault, { type: "leader-without-voters" }>): void {
    const leader = this.#parts.processes[this.#leaderOfHighestTerm()];
    const config = leader?.raft?.metrics().config;
    if (leader === undefined || config === undefined) return;
    if (hears === "learners") {
      this.#hearOnly(leader, config.learners, ms);
      return;
    }
    this.#parts.operator.requestChange({ type: "change", how: "remove", crashLeaderAfterMs: null });
    this.#whenRemoved(leader, membersOf(config), REMOVAL_MS_MAX, (removed) => {
      this.#hearOnly(leader, removed, ms);
    });
  }

  /**
   * Calls back when the leader acts on a configuration that isn't joint and lacks some of these members. The
   * leader has just appended that configuration, so it can't know yet whether the removed members have heard
   * of it.
   */
  #whenRemoved(
    leader: SimProcess,
    members: readonly string[],
    patienceMs: number,
    then: (removed: readonly string[]) => void,
  ): void {
    const metrics = leader.raft?.metrics();
    if (metrics?.role !== "leader" || patienceMs <= 0) return;
    const now = membersOf(metrics.config);
    const removed = members.filter((id) => !now.includes(id));
    if (removed.length > 0 && !isJoint(metrics.config)) then(removed);
    else {
      this.#parts.after(REMOVAL_POLL_MS, () => {
        this.#whenRemoved(leader, members, patienceMs - REMOVAL_POLL_MS, then);
      });
    }
  }

  /** Cuts the leader off from all but these nodes, while clients read from it. */
  #hearOnly(leader: SimProcess, ids: readonly string[], ms: number): void {
    const { processes, clients, network, after } = this.#parts;
    if (ids.length === 0) return;
    const isHeard = (process: SimProcess): boolean => process === leader || ids.includes(process.id);
    const side = processes.flatMap((process, node) => (isHeard(process) ? [node] : []));
    const links = linksOf({ type: "partition", at: 0, side, oneWay: false, ms }, processes.length);
    after(ms, network.cut(links));
    after(ms, clients.readRepeatedly(leader, 0));
  }

  /**
   * A part of the process `node` hangs (null: of the leader): its state machine, or the disk's calls for
   * snapshot files. The process is given writes, or asked for a snapshot, so that the part is called. The
   * network and the rest of the disk work.
   */
  hang({ part, ms }: Extract<Fault, { type: "hang-part" }>, node: SimProcess | null): void {
    const { processes, clients, operator, after } = this.#parts;
    const process = node ?? processes.find(leads);
    if (process === undefined) return;
    const { machineConditions, diskConditions } = process;
    if (part === "state-machine") {
      after(ms, hold(machineConditions, "hangs", true, false));
      process.machineHung = true;
      clients.burst(process, STALLED_WRITES);
    } else {
      after(ms, hold(diskConditions, "snapshotsHang", true, false));
      process.snapshotsHung = true;
      operator.snapshot(process);
    }
  }

  /** So many writes at once, by default at the node that leads the highest term; each is in the history. */
  burst(node: SimProcess | null, writes: number): void {
    const { processes, clients } = this.#parts;
    const process = node ?? processes[this.#leaderOfHighestTerm()];
    if (process?.isUp === true) clients.burst(process, writes);
  }

  /** See the fault. `node` null: the node that leads the highest term is called. */
  callInBulk(node: SimProcess | null, { writes, reads, timeoutMs }: Extract<Fault, { type: "bulk" }>): void {
    const { processes, clients } = this.#parts;
    const process = node ?? processes[this.#leaderOfHighestTerm()];
    if (process?.isUp === true) clients.bulk(process, writes, reads, timeoutMs);
  }

  /** The node that leads the highest term, since several may believe that they lead. -1: none does. */
  #leaderOfHighestTerm(): number {
    const terms = this.#parts.processes.map(({ leads, core }) => (leads ? (core?.term ?? 0) : 0));
    const highest = Math.max(...terms);
    return highest === 0 ? -1 : terms.indexOf(highest);
  }

  /** The leader and so many other nodes. */
  #sideOf(leader: number, companions: number): readonly number[] {
    const { processes, chance } = this.#parts;
    const side = [leader];
    while (side.length <= companions) {
      const other = chance.whole(0, processes.length - 1);
      if (!side.includes(other)) side.push(other);
    }
    return side;
  }
}

function asksForVotes({ core }: SimProcess): boolean {
  return core?.role === "pre-candidate" || core?.role === "candidate";
}

function leads(process: SimProcess): boolean {
  return process.leads;
}
