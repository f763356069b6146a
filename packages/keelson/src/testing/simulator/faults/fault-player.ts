import type { SimulatedClock } from "../../../environment/simulated/simulated-clock.ts";
import type { SimulatedNetwork } from "../../../environment/simulated/simulated-network.ts";
import type { FileFault, FileOperation } from "../../../environment/simulated/simulated-files.ts";
import type { MemoryNetwork } from "../../../transport/memory/memory-network.ts";
import type { Chance } from "../plan/chance.ts";
import type { DiskErrorKind, Fault, FaultType } from "../plan/faults.ts";
import type { Plan } from "../plan/plan.ts";
import type { SimClients } from "../clients/sim-clients.ts";
import type { SimOperator } from "../clients/sim-operator.ts";
import { isOfSnapshots, type SimProcess } from "../world/sim-process.ts";

export interface FaultPlayerParts {
  readonly plan: Plan;
  readonly clock: SimulatedClock;
  readonly chance: Chance;
  readonly processes: readonly SimProcess[];
  readonly streams: SimulatedNetwork;
  readonly datagrams: MemoryNetwork;
  readonly clients: SimClients;
  readonly operator: SimOperator;
  readonly trace: (text: string) => void;
  readonly report: (error: unknown) => void;
}

const NO_LOSS = { drop: 0, duplicate: 0 };

const NO_COPIES: { readonly share: number; readonly byMs: number } = { share: 0, byMs: 0 };

/** What a busy event loop takes to do what it heard of, before it is busy again. */
const TURN_MS = 1;

/** A timer that is later than this would be taken for a call that never ends. */
const LATE_MS_MAX = 800;

/** How long it takes until somebody starts a process that stopped by itself. */
const RESTART_MS = 200;

/** What a write that finds the disk full leaves: a piece of a header, a piece of a batch, or whole sectors. */
const SHORT_WRITES = [20, 300, 600, 1_100, 1_700];

/** What a node is given to read its log, before the power fails. */
const READ_BACK_MS = 30;

/** What a leader has to write while its disk hangs. */
const STALLED_WRITES = 2;

/** How often one looks whether somebody fetches a snapshot. */
const SPOIL_STEP_MS = 20;

const LONELY_DISK_DELAY_MS = 100;
const LONELY_DISK_LONGER_MS = 100;

/** Makes the plan's faults happen, and undoes all of them at the end. */
export class FaultPlayer {
  /** How often each fault happened. */
  readonly counts = new Map<FaultType, number>();
  readonly #parts: FaultPlayerParts;
  /** By "from>to": how many faults cut this direction at the moment. */
  readonly #cuts = new Map<string, number>();
  /** What messages suffer, by link; "" for those that have nothing of their own. */
  readonly #loss = new Map<string, { readonly drop: number; readonly duplicate: number }>();
  #extraDelayMs = 0;
  /** Whom everything reaches later than others. */
  readonly #slowTo = new Map<string, number>();
  #lateCopies = NO_COPIES;
  #stragglers = NO_COPIES;
  #healed = false;

  constructor(parts: FaultPlayerParts) {
    this.#parts = parts;
    this.#applyLinks();
    const { datagrams, plan, chance } = parts;
    datagrams.deliveryDelaysMs = (from, to) => {
      const { drop, duplicate } = this.#loss.get(linkKey(from, to)) ?? this.#loss.get("") ?? NO_LOSS;
      if (this.#isCut(from, to) || chance.happens(drop)) return [];
      const delay = (): number =>
        (this.#slowTo.get(to) ?? 0) +
        chance.between(plan.linkDelayMs.min, plan.linkDelayMs.max + this.#extraDelayMs);
      const delays = chance.happens(duplicate) ? [delay(), delay()] : [delay()];
      const { share, byMs } = this.#lateCopies;
      if (share > 0 && chance.happens(share)) delays.push(delay() + chance.between(0, byMs));
      const { share: lateShare, byMs: lateByMs } = this.#stragglers;
      if (lateShare === 0) return delays;
      return delays.map((ms) => (chance.happens(lateShare) ? ms + chance.between(0, lateByMs) : ms));
    };
  }

  /** Sets the timers for all faults of the plan. */
  start(): void {
    const { clock, plan } = this.#parts;
    const begin = clock.now();
    for (const fault of plan.faults) {
      clock.setTimer(fault.at - (clock.now() - begin), () => {
        if (!this.#healed) this.#play(fault);
      });
    }
  }

  /** A process stopped by itself; it is started again soon. */
  restartSoon(process: SimProcess): void {
    // Also after the run healed: a failure from before may show only then.
    this.#parts.clock.setTimer(RESTART_MS, () => {
      process.start();
    });
  }

  /** Ends every fault: all links work, all disks answer, all processes run. */
  heal(): void {
    this.#healed = true;
    this.#cuts.clear();
    this.#loss.clear();
    this.#extraDelayMs = 0;
    this.#slowTo.clear();
    this.#lateCopies = NO_COPIES;
    this.#stragglers = NO_COPIES;
    this.#applyLinks();
    this.#parts.clients.quiet = false;
    this.#parts.clients.shunned = null;
    this.#parts.operator.stop();
    for (const process of this.#parts.processes) {
      calm(process);
      process.resume();
      process.start();
    }
  }

  #play(fault: Fault): void {
    this.counts.set(fault.type, (this.counts.get(fault.type) ?? 0) + 1);
    this.#parts.trace(`fault ${JSON.stringify(fault)}`);
    switch (fault.type) {
      case "cut":
      case "partition":
      case "bridge":
        this.#cut(linksOf(fault, this.#parts.processes.length), fault.ms);
        break;
      case "lossy":
        this.#while(fault.ms, () => {
          const key = fault.link === null ? "" : linkKey(...this.#idsOf(fault.link));
          this.#loss.set(key, fault);
          return () => {
            this.#loss.delete(key);
          };
        });
        break;
      case "slow-network":
        this.#while(fault.ms, () => {
          this.#extraDelayMs = fault.delayMs;
          this.#applyLinks();
          return () => {
            this.#extraDelayMs = 0;
            this.#applyLinks();
          };
        });
        break;
      case "reset":
        this.#parts.streams.reset(this.#process(fault.a).id, this.#process(fault.b).id);
        break;
      case "crash-all":
        for (const process of this.#parts.processes) this.#crash(process, fault.ms);
        break;
      case "late-copies":
        this.#while(fault.ms, () => {
          this.#lateCopies = fault;
          return () => {
            this.#lateCopies = NO_COPIES;
          };
        });
        break;
      case "stragglers":
        this.#while(fault.ms, () => {
          this.#stragglers = fault;
          return () => {
            this.#stragglers = NO_COPIES;
          };
        });
        break;
      case "strand-leader":
        this.#strandLeader(fault);
        break;
      case "freeze":
        for (const process of this.#parts.processes) process.pause();
        this.#after(fault.ms, () => {
          for (const process of this.#parts.processes) process.resume();
        });
        break;
      case "quiet":
        this.#while(fault.ms, () => {
          this.#parts.clients.quiet = true;
          return () => {
            this.#parts.clients.quiet = false;
          };
        });
        break;
      case "lonely-leader":
        this.#isolateLeader(fault);
        break;
      case "stall-leader":
        this.#stallLeader(fault.ms);
        break;
      case "change":
        this.#parts.operator.ask(fault);
        break;
      case "transfer":
        this.#parts.operator.transfer();
        break;
      case "deaf-handover":
        this.#handOverDeaf(fault.ms);
        break;
      default:
        this.#playOn(this.#process(fault.node), fault);
    }
  }

  #playOn(process: SimProcess, fault: Extract<Fault, { node: number }>): void {
    const { diskMood, clockMood, machineMood } = process;
    switch (fault.type) {
      case "crash":
        this.#crash(process, fault.ms);
        break;
      case "crash-at-storage-call":
        this.#crashAtCall(process, fault.calls, fault.ms);
        break;
      case "pause":
        process.pause();
        this.#after(fault.ms, () => {
          process.resume();
        });
        break;
      case "busy":
        // No call to its disk ends sooner than the next turn.
        process.diskWasSlow = true;
        this.#stall(process, fault.turnMs, fault.ms);
        break;
      case "crash-voter":
        process.onVote = () => {
          process.onVote = null;
          this.#crash(process, fault.ms, false);
        };
        break;
      case "snapshot":
        this.#parts.operator.snapshot(process);
        break;
      case "crash-at-snapshot":
        process.onSnapshotFile = () => {
          process.onSnapshotFile = null;
          this.#crashAtCall(process, fault.calls, fault.ms);
        };
        break;
      case "spoil-snapshot":
        if (this.#mayDamage(process)) this.#spoilSnapshot(process, fault);
        break;
      case "snapshot-disk-error":
        process.diskFaults.next = snapshotDiskError(fault.error, this.#parts.chance.pick(SHORT_WRITES));
        break;
      case "found-again":
        this.#parts.operator.foundAgain(process, fault.others);
        break;
      case "close":
        process.shutDown();
        break;
      case "wipe":
        if (!this.#parts.operator.mayWipe(process)) break;
        this.#parts.operator.wipe(process);
        calm(process);
        break;
      case "late-timers":
        this.#while(fault.ms, () => {
          clockMood.lateByMs = fault.byMs;
          return () => {
            clockMood.lateByMs = 0;
          };
        });
        break;
      case "slow-disk":
        this.#while(fault.ms, () => {
          diskMood.delayMs = fault.delayMs;
          process.diskWasSlow = true;
          return () => {
            diskMood.delayMs = 0;
          };
        });
        break;
      case "hanging-disk":
        this.#while(fault.ms, () => {
          diskMood.hangs = true;
          process.diskWasSlow = true;
          return () => {
            diskMood.hangs = false;
          };
        });
        break;
      case "disk-error":
        process.diskFaults.next = diskError(fault.error, this.#parts.chance.pick(SHORT_WRITES));
        if (fault.powerCutAfterMs !== null) {
          this.#after(fault.powerCutAfterMs, () => {
            this.#crash(process, RESTART_MS, true);
          });
        }
        break;
      case "bit-flip":
        if (!this.#mayDamage(process)) break;
        this.#flipBit(process, fault.ms);
        break;
      case "crash-loop":
        this.#crashInLoop(process, fault.calls, fault.ms);
        break;
      case "short-transfers":
        this.#while(fault.ms, () => {
          process.diskFaults.shortTransfers = true;
          return () => {
            process.diskFaults.shortTransfers = false;
          };
        });
        break;
      case "lost-write":
        if (!this.#mayDamage(process)) break;
        process.diskFaults.next = ({ type }) => (type === "write" ? fault : null);
        this.#after(fault.ms, () => {
          if (process.isUp) process.readBack().catch(this.#parts.report);
        });
        this.#after(fault.ms + READ_BACK_MS, () => {
          this.#crash(process, RESTART_MS, true);
        });
        break;
      case "slow-apply":
        this.#while(fault.ms, () => {
          machineMood.delayMs = fault.delayMs;
          return () => {
            machineMood.delayMs = 0;
          };
        });
        break;
      case "state-machine-failure":
        machineMood.fails = true;
        this.#after(RESTART_MS / 2, () => {
          machineMood.fails = false;
        });
        break;
    }
  }

  /** The plan damages a minority of the first members; when members come and go, the minority of the moment counts. */
  #mayDamage(process: SimProcess): boolean {
    const { plan, operator } = this.#parts;
    if (plan.spares > 0 && !operator.mayLose(process)) return false;
    operator.condemn(process);
    return true;
  }

  /** A process dies in the middle of something. */
  crash(process: SimProcess): void {
    this.#crash(process, RESTART_MS);
  }

  /** These, and the others, hear nothing of each other. */
  cutOff(ids: readonly string[], ms: number): void {
    const { processes } = this.#parts;
    const side = [...processes.keys()].filter((node) => ids.includes(this.#process(node).id));
    this.#cut(linksOf({ type: "partition", at: 0, side, oneWay: false, ms }, processes.length), ms);
  }

  /** Half of the crashes take the machine with them, and what it had not synced. */
  #crash(process: SimProcess, ms: number, power = this.#parts.chance.happens(0.5)): void {
    process.kill(power);
    calm(process);
    this.#after(ms, () => {
      process.start();
    });
  }

  /** The leader that others followed last goes on being asked where nobody who counts hears of it. */
  #strandLeader(fault: Extract<Fault, { type: "strand-leader" }>): void {
    const { processes, clients, chance, plan } = this.#parts;
    const terms = processes.map(({ raft }) => {
      const metrics = raft?.metrics();
      return metrics?.role === "leader" ? metrics.term : 0;
    });
    const leader = terms.indexOf(Math.max(...terms));
    const process = processes[leader];
    if (process === undefined || terms[leader] === 0) return;
    const side = [leader];
    while (side.length <= fault.companions) {
      const other = chance.whole(0, processes.length - 1);
      if (!side.includes(other)) side.push(other);
    }
    const { clockMood } = process;
    const heartbeatMs = plan.heartbeatMs / clockMood.rate;
    if (fault.lateTimers) {
      clockMood.lateByMs = Math.min(2 * fault.ms, LATE_MS_MAX);
      clockMood.lateShareMin = 0.7;
    }
    const stunned = fault.stunned
      ? processes.filter((_, node) => node !== leader && side.includes(node))
      : [];
    for (const companion of stunned) companion.pause();
    if (fault.stunned) clients.burst(process, fault.writes);
    // The timer of the next heartbeat is set already; and what was written before the cut, others have heard of.
    const leadMs = heartbeatMs + fault.answersMs;
    if (fault.answersMs > 0) {
      this.#while(leadMs + fault.ms, () => {
        this.#slowTo.set(process.id, fault.answersMs);
        this.#applyLinks();
        return () => {
          this.#slowTo.delete(process.id);
          this.#applyLinks();
        };
      });
    }
    this.#after(leadMs, () => {
      this.#cut(linksOf({ ...fault, type: "partition", side, oneWay: false }, processes.length), fault.ms);
      clients.burst(process, fault.writes);
    });
    const stopReading =
      fault.readsAfterMs === null
        ? (): void => undefined
        : clients.readAgainAndAgain(process, leadMs + fault.readsAfterMs);
    // A leader that does nothing learns nothing: whoever asks last, asks first.
    if (fault.lateTimers && fault.readsAfterMs !== null) clients.shunned = process;
    this.#after(leadMs + fault.ms, () => {
      clients.shunned = null;
      clockMood.lateByMs = 0;
      clockMood.lateShareMin = 0;
      stopReading();
    });
    this.#after(2 * heartbeatMs + leadMs + fault.ms, () => {
      for (const companion of stunned) companion.resume();
    });
  }

  /** One long turn of the event loop after another. */
  #stall(process: SimProcess, turnMs: number, ms: number): void {
    if (ms <= 0 || process.isPaused) return;
    process.pause();
    this.#after(turnMs, () => {
      process.resume();
      this.#after(TURN_MS, () => {
        this.#stall(process, turnMs, ms - turnMs);
      });
    });
  }

  #crashAtCall(process: SimProcess, calls: number, ms: number): void {
    this.#countCalls(process, calls, false, () => {
      this.#crash(process, ms);
    });
  }

  /** `beforeSync`: it goes on to the next sync, when the most is written and not durable. */
  #countCalls(process: SimProcess, calls: number, beforeSync: boolean, then: () => void): void {
    let left = calls;
    process.diskMood.beforeWrite = (isSync) => {
      left -= 1;
      if (left > 0 || (beforeSync && !isSync)) return;
      process.diskMood.beforeWrite = null;
      then();
    };
  }

  /** The power fails before a sync, and again while, or soon after, the process starts from what that left. */
  #crashInLoop(process: SimProcess, calls: readonly number[], ms: number): void {
    const [left, ...later] = calls;
    if (left === undefined) return;
    this.#countCalls(process, left, true, () => {
      this.#crash(process, ms, true);
      this.#crashInLoop(process, later, ms);
    });
  }

  #isolateLeader({ disk, ms }: Extract<Fault, { type: "lonely-leader" }>): void {
    const node = this.#parts.processes.findIndex(({ raft }) => raft?.metrics().role === "leader");
    const leader = this.#parts.processes[node];
    if (leader === undefined) return;
    const { diskMood } = leader;
    this.#cut(
      linksOf({ type: "partition", at: 0, side: [node], oneWay: false, ms }, this.#parts.processes.length),
      ms,
    );
    if (disk === "well") return;
    leader.diskWasSlow = true;
    if (disk === "slow") diskMood.delayMs = LONELY_DISK_DELAY_MS;
    else diskMood.hangs = true;
    // It lasts until after the others are back, so that they find writes under way that they replace.
    this.#after(ms + LONELY_DISK_LONGER_MS, () => {
      diskMood.delayMs = 0;
      diskMood.hangs = false;
    });
  }

  /** It speaks, and what the others say reaches it when they follow another one. */
  #handOverDeaf(ms: number): void {
    const { processes, operator } = this.#parts;
    const leader = processes.find(({ raft }) => raft?.metrics().role === "leader");
    if (leader === undefined) return;
    leader.onHandover = () => {
      leader.onHandover = null;
      this.deafen(leader, ms);
    };
    operator.transfer();
  }

  /** For so long it hears nothing in time; and only who does not know better asks it, again and again. */
  deafen(process: SimProcess, ms: number): void {
    const { clients } = this.#parts;
    clients.shunned = process;
    const stopReading = clients.readAgainAndAgain(process, 0);
    this.#while(ms, () => {
      this.#slowTo.set(process.id, ms);
      this.#applyLinks();
      return () => {
        this.#slowTo.delete(process.id);
        this.#applyLinks();
        clients.shunned = null;
        stopReading();
      };
    });
  }

  /** It hears everybody, and is heard; only its own disk says nothing. */
  #stallLeader(ms: number): void {
    const { processes, clients } = this.#parts;
    const leader = processes.find(({ raft }) => raft?.metrics().role === "leader");
    if (leader === undefined) return;
    const { diskMood } = leader;
    diskMood.hangs = true;
    leader.diskWasSlow = true;
    clients.burst(leader, STALLED_WRITES);
    this.#after(ms, () => {
      diskMood.hangs = false;
    });
  }

  /** Damages one bit of a file while the process is down. */
  #flipBit(process: SimProcess, ms: number): void {
    process.kill(true);
    calm(process);
    this.#damageOneOf(process, process.disk.paths());
    this.#after(ms, () => {
      process.start();
    });
  }

  /**
   * Best while somebody fetches it: whoever gets it finds out, and so does the process itself, if it starts anew and
   * trusts it no more. Nobody does for long: then it is spoilt all the same.
   */
  #spoilSnapshot(process: SimProcess, fault: Extract<Fault, { type: "spoil-snapshot" }>): void {
    const { patienceMs, crashShare } = fault;
    const sending = process.raft?.metrics().snapshots?.sending ?? [];
    if (sending.length === 0 && patienceMs > 0) {
      this.#after(SPOIL_STEP_MS, () => {
        this.#spoilSnapshot(process, { ...fault, patienceMs: patienceMs - SPOIL_STEP_MS });
      });
      return;
    }
    this.#damageOneOf(process, process.disk.paths().filter(isOfSnapshots));
    if (this.#parts.chance.happens(crashShare)) this.#crash(process, RESTART_MS / 4, false);
  }

  #damageOneOf(process: SimProcess, paths: readonly string[]): void {
    const { chance, trace } = this.#parts;
    const path = chance.pick(paths.length === 0 ? [""] : paths);
    const bytes = path === "" ? new Uint8Array(0) : process.disk.contents(path);
    const used = bytes.findLastIndex((byte) => byte !== 0) + 1;
    if (used === 0) return;
    const at = chance.whole(0, used - 1);
    process.disk.damage(path, at, Uint8Array.of((bytes[at] ?? 0) ^ (1 << chance.whole(0, 7))));
    process.damaged = true;
    trace(`flipped a bit in byte ${String(at)} of ${path}`);
  }

  #cut(links: readonly (readonly [number, number])[], ms: number): void {
    const keys = links.map((link) => linkKey(...this.#idsOf(link)));
    this.#while(ms, () => {
      for (const key of keys) this.#cuts.set(key, (this.#cuts.get(key) ?? 0) + 1);
      this.#applyLinks();
      return () => {
        for (const key of keys) this.#cuts.set(key, (this.#cuts.get(key) ?? 0) - 1);
        this.#applyLinks();
      };
    });
  }

  #applyLinks(): void {
    const { streams, plan, processes } = this.#parts;
    streams.setEveryLink({
      delayMinMs: plan.linkDelayMs.min,
      delayMaxMs: plan.linkDelayMs.max + this.#extraDelayMs,
      splitProbability: 0.05,
      cut: false,
    });
    for (const { id: from } of processes) {
      for (const { id: to } of processes) {
        const slowMs = this.#slowTo.get(to);
        if (slowMs !== undefined) {
          const delayMaxMs = slowMs + plan.linkDelayMs.max + this.#extraDelayMs;
          streams.setLink(from, to, { delayMinMs: slowMs + plan.linkDelayMs.min, delayMaxMs });
        }
        if (this.#isCut(from, to)) streams.setLink(from, to, { cut: true });
      }
    }
  }

  #isCut(from: string, to: string): boolean {
    return (this.#cuts.get(linkKey(from, to)) ?? 0) > 0;
  }

  #idsOf([from, to]: readonly [number, number]): [string, string] {
    return [this.#process(from).id, this.#process(to).id];
  }

  #process(node: number): SimProcess {
    const process = this.#parts.processes[node];
    if (process === undefined) throw new Error(`the plan names node ${String(node)}, which there is not`);
    return process;
  }

  #while(ms: number, begin: () => () => void): void {
    const end = begin();
    this.#after(ms, end);
  }

  #after(ms: number, then: () => void): void {
    this.#parts.clock.setTimer(ms, () => {
      if (!this.#healed) then();
    });
  }
}

function linkKey(from: string, to: string): string {
  return `${from}>${to}`;
}

/** The directions that a fault cuts. */
function linksOf(
  fault: Extract<Fault, { type: "cut" | "partition" | "bridge" }>,
  nodes: number,
): (readonly [number, number])[] {
  if (fault.type === "cut") return [[fault.from, fault.to]];
  const links: [number, number][] = [];
  const inSide = (node: number): boolean => fault.side.includes(node);
  for (let from = 0; from < nodes; from++) {
    for (let to = 0; to < nodes; to++) {
      if (inSide(from) === inSide(to)) continue;
      // A bridge hears, and is heard by, both sides.
      if (fault.type === "bridge" && (from === fault.bridge || to === fault.bridge)) continue;
      if (fault.type === "partition" && fault.oneWay && !inSide(from)) continue;
      links.push([from, to]);
    }
  }
  return links;
}

/** A process that was started anew has none of the moods that its predecessor suffered from. */
function calm(process: SimProcess): void {
  process.onVote = null;
  process.onLeaving = null;
  process.onHandover = null;
  process.onSnapshotFile = null;
  process.diskFaults.next = null;
  process.diskFaults.shortTransfers = false;
  process.diskMood.delayMs = 0;
  process.diskMood.hangs = false;
  process.diskMood.beforeWrite = null;
  process.clockMood.lateByMs = 0;
  process.clockMood.lateShareMin = 0;
  process.machineMood.delayMs = 0;
  process.machineMood.fails = false;
}

/** The next operation that can have this error has it. */
function diskError(error: DiskErrorKind, shortBytes: number): (operation: FileOperation) => FileFault | null {
  return ({ type }) => faultFor(error, type, shortBytes);
}

/** The same, for the files of snapshots alone. */
function snapshotDiskError(
  error: DiskErrorKind,
  shortBytes: number,
): (operation: FileOperation) => FileFault | null {
  return ({ type, path }) => (isOfSnapshots(path) ? faultFor(error, type, shortBytes) : null);
}

function faultFor(error: DiskErrorKind, type: FileOperation["type"], shortBytes: number): FileFault | null {
  switch (error) {
    case "io-error":
      return type === "write" || type === "data-sync" ? { type: "error", code: "EIO" } : null;
    case "no-space":
      return type === "write" || type === "allocate" ? { type: "error", code: "ENOSPC" } : null;
    case "short-write":
      return type === "write" ? { type: "short-write", bytes: shortBytes, code: "ENOSPC" } : null;
    case "failed-sync":
      return type === "data-sync" ? { type: "failed-sync", code: "EIO" } : null;
    case "read-error":
      return type === "read" ? { type: "error", code: "EIO" } : null;
  }
}
