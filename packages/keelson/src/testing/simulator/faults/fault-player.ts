/** Carries out the faults of a plan at their times, and ends all of them when the run heals. */
import type { SimulatedFiles } from "../../../environment/simulated/simulated-files.ts";
import type { SimulatedClock } from "../../../environment/simulated/simulated-clock.ts";
import type { SimulatedNetwork } from "../../../environment/simulated/simulated-network.ts";
import type { MemoryNetwork } from "../../../transport/memory/memory-network.ts";
import type { SimClients } from "../clients/sim-clients.ts";
import type { SimOperator } from "../clients/sim-operator.ts";
import type { Chance } from "../plan/chance.ts";
import type {
  ClientFault,
  CrashFault,
  DiskFault,
  Fault,
  FaultType,
  LeaderFault,
  NetworkFault,
  OperatorFault,
  SnapshotFault,
  TimingFault,
} from "../plan/faults.ts";
import type { Plan } from "../plan/plan.ts";
import type { SimProcess } from "../world/sim-process.ts";
import { diskError, SHORT_WRITES, snapshotDiskError } from "./disk-errors.ts";
import { LeaderFaults } from "./leader-faults.ts";
import { linksOf, NetworkFaults, processOf } from "./network-faults.ts";
import { endAll, hold } from "./overlapping.ts";
import { StruckFaults } from "./struck-faults.ts";
import { clearFaults, ProcessFaults, RESTART_DELAY_MS } from "./process-faults.ts";

/**
 * How many milliseconds pass between a node's reading back its log after a lost write and the power failure.
 */
const READ_LOG_MS = 30;

/** How often to look whether a process has started, in milliseconds. */
const START_POLL_MS = 1;

/**
 * How many milliseconds a roll-back waits until the others hold what the node holds, and how often it looks.
 */
const ROLL_BACK_PATIENCE_MS = 300;
const ROLL_BACK_POLL_MS = 5;

/**
 * Faults that lose a node or its data, and that the operator allows or refuses when they strike. In runs with
 * them the plan alone can't tell how many disks may be damaged.
 */
const OTHER_LOSSES: readonly FaultType[] = ["destroy", "wipe", "roll-back"];

export interface FaultPlayerParts {
  readonly plan: Plan;
  readonly clock: SimulatedClock;
  readonly chance: Chance;
  readonly processes: readonly SimProcess[];
  readonly streams: SimulatedNetwork;
  readonly datagrams: MemoryNetwork;
  readonly clients: SimClients;
  readonly operator: SimOperator;
  /** A fault is about to happen. */
  readonly striking: () => void;
  readonly trace: (text: string) => void;
  readonly report: (error: unknown) => void;
  /** Starts a peer that lies. The returned function ends it. */
  readonly startHostilePeer: (fault: FaultOf<"hostile-peer">) => () => void;
  /** Ends all hostile peers. */
  readonly endHostilePeers: () => void;
}

type FaultOf<T extends FaultType> = Extract<Fault, { readonly type: T }>;

/** How each type of fault is carried out. A new type doesn't compile until it has its line here. */
type Handlers = { readonly [T in FaultType]: (fault: FaultOf<T>) => void };

type HandlersOf<F extends { readonly type: FaultType }> = Pick<Handlers, F["type"]>;

/** See the file's header. */
export class FaultPlayer {
  /** How often each type of fault happened. */
  readonly counts: Map<FaultType, number> = new Map<FaultType, number>();
  readonly struck: StruckFaults;
  readonly #parts: FaultPlayerParts;
  readonly #network: NetworkFaults;
  readonly #processFaults: ProcessFaults;
  readonly #leaderFaults: LeaderFaults;
  readonly #handlers: Handlers;
  /** What the next nodes that become leader are asked for, in order. */
  readonly #greetings: FaultOf<"greet-leader">[] = [];
  /** Faults are over: what was planned for later doesn't happen. */
  #healed = false;

  constructor(parts: FaultPlayerParts) {
    this.#parts = parts;
    const after = (ms: number, then: () => void): void => {
      this.#after(ms, then);
    };
    this.struck = new StruckFaults(parts.plan, parts.processes);
    this.#network = new NetworkFaults(parts);
    this.#processFaults = new ProcessFaults({ chance: parts.chance, trace: parts.trace, after });
    const crash = (process: SimProcess): void => {
      this.crash(process);
    };
    this.#leaderFaults = new LeaderFaults({ ...parts, network: this.#network, crash, after });
    this.#handlers = {
      ...this.#networkHandlers(),
      ...this.#crashHandlers(),
      ...this.#timingHandlers(),
      ...this.#diskHandlers(),
      ...this.#snapshotHandlers(),
      ...this.#leaderHandlers(),
      ...this.#userHandlers(),
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

  /** A process ended: starts it again after `RESTART_DELAY_MS`. */
  restartSoon(process: SimProcess): void {
    // This timer also runs after the run has healed, because an earlier fault may still stop a node then.
    this.#parts.clock.setTimer(RESTART_DELAY_MS, () => {
      process.start();
    });
  }

  /**
   * Ends every fault that lasts: all links work, all disks answer, and every process that can run is started.
   * What was destroyed or damaged stays so, and wall clocks that jumped stay wrong.
   */
  heal(): void {
    this.#healed = true;
    this.#parts.endHostilePeers();
    this.#network.heal();
    endAll(this.#parts.clients);
    this.#parts.operator.stop();
    for (const process of this.#parts.processes) {
      clearFaults(process);
      endAll(process.diskSpace);
      process.resume();
      process.start();
    }
  }

  /**
   * A node has become leader in this turn: it is asked for what the next fault `greet-leader` says, if one
   * waits.
   */
  elected(process: SimProcess): void {
    const greeting = this.#healed ? undefined : this.#greetings.shift();
    if (greeting !== undefined) this.#parts.operator.greet(process, greeting);
  }

  /** Crashes a process at once, and starts it again after `RESTART_DELAY_MS`. */
  crash(process: SimProcess): void {
    this.#processFaults.crash(process, RESTART_DELAY_MS);
  }

  /** Cuts these nodes off from all others for so long. */
  isolate(ids: readonly string[], ms: number): void {
    const { processes } = this.#parts;
    const side = [...processes.keys()].filter((node) => ids.includes(this.#process(node).id));
    this.#cut({ type: "partition", at: 0, side, oneWay: false, ms });
  }

  /** See `LeaderFaults.delayMessagesTo`. */
  delayMessagesTo(process: SimProcess, ms: number): void {
    this.#leaderFaults.delayMessagesTo(process, ms);
  }

  #play<T extends FaultType>(fault: FaultOf<T> & { readonly type: T }): void {
    this.counts.set(fault.type, (this.counts.get(fault.type) ?? 0) + 1);
    this.#parts.trace(`fault ${JSON.stringify(fault)}`);
    this.#parts.striking();
    this.struck.watch(fault, () => {
      this.#handlers[fault.type](fault);
    });
  }

  #networkHandlers(): HandlersOf<NetworkFault> {
    const network = this.#network;
    const cut = (fault: FaultOf<"cut" | "partition" | "bridge">): void => {
      this.#cut(fault);
    };
    return {
      cut,
      partition: cut,
      bridge: cut,
      unreachable: (fault) => {
        const { ms } = fault;
        const partition = { ...fault, type: "partition", oneWay: false } as const;
        const links = linksOf(partition, this.#parts.processes.length);
        this.#after(ms, network.makeUnreachable(links));
      },
      lossy: (fault) => {
        this.#after(fault.ms, network.lose(fault.link, fault));
      },
      "slow-network": ({ delayMs, ms }) => {
        this.#after(ms, network.delayAll(delayMs));
      },
      reset: ({ a, b }) => {
        this.#parts.streams.reset(this.#process(a).id, this.#process(b).id);
      },
      "late-copies": (fault) => {
        this.#after(fault.ms, network.duplicateLate(fault));
      },
      "hostile-peer": (fault) => {
        this.#after(fault.ms, this.#parts.startHostilePeer(fault));
      },
      stragglers: (fault) => {
        this.#after(fault.ms, network.delaySome(fault));
      },
    };
  }

  #crashHandlers(): HandlersOf<CrashFault> {
    const faults = this.#processFaults;
    return {
      crash: ({ node, ms }) => {
        faults.crash(this.#process(node), ms);
      },
      "crash-all": ({ ms }) => {
        for (const process of this.#parts.processes) faults.crash(process, ms);
      },
      "crash-at-storage-call": ({ node, calls, ms }) => {
        faults.crashAtCall(this.#process(node), calls, ms);
      },
      "crash-loop": ({ node, calls, ms }) => {
        faults.crashInLoop(this.#process(node), calls, ms);
      },
      "restart-under-reads": ({ node, ms, readsMs }) => {
        const process = this.#process(node);
        faults.crash(process, ms);
        this.#after(ms, () => {
          this.#readFromStart(process, readsMs);
        });
      },
      "crash-voter": ({ node, ms }) => {
        const process = this.#process(node);
        process.onVoteDurable = () => {
          process.onVoteDurable = null;
          faults.crash(process, ms, false);
        };
      },
      destroy: ({ node, atVote }) => {
        if (atVote) this.#destroyNextCandidate();
        else this.#destroy(this.#process(node));
      },
      close: ({ node }) => {
        this.#process(node).shutDown();
      },
      "state-machine-failure": ({ node }) => {
        this.#set(this.#process(node).machineConditions, "fails", true, RESTART_DELAY_MS / 2);
      },
    };
  }

  #timingHandlers(): HandlersOf<TimingFault> {
    const { processes } = this.#parts;
    return {
      pause: ({ node, ms }) => {
        const process = this.#process(node);
        this.#after(ms, process.pause());
      },
      busy: ({ node, turnMs, ms }) => {
        const process = this.#process(node);
        // A call to the disk can't end before the next turn, so it may take as long as on a slow disk.
        process.diskWasSlow = true;
        this.#processFaults.stall(process, turnMs, ms);
      },
      freeze: ({ ms }) => {
        for (const process of processes) this.#after(ms, process.pause());
      },
      "late-timers": ({ node, byMs, ms }) => {
        this.#set(this.#process(node).clockConditions, "timersLateByMsMax", byMs, ms);
      },
      "clock-jump": ({ node, byMs }) => {
        this.#process(node).clockConditions.wallOffsetMs += byMs;
      },
      "hang-part": (fault) => {
        this.#leaderFaults.hang(fault, fault.node === null ? null : this.#process(fault.node));
      },
      "slow-apply": ({ node, delayMs, ms }) => {
        this.#set(this.#process(node).machineConditions, "delayMs", delayMs, ms);
      },
    };
  }

  #diskHandlers(): HandlersOf<DiskFault> {
    return {
      "slow-disk": ({ node, delayMs, ms }) => {
        const process = this.#process(node);
        process.diskWasSlow = true;
        this.#set(process.diskConditions, "extraDelayMs", delayMs, ms);
      },
      "hanging-disk": ({ node, ms }) => {
        const process = this.#process(node);
        process.diskWasSlow = true;
        this.#set(process.diskConditions, "hangs", true, ms);
      },
      "disk-error": ({ node, error, powerCutAfterMs }) => {
        const process = this.#process(node);
        process.diskFaults.next = diskError(error, this.#parts.chance.pick(SHORT_WRITES));
        if (powerCutAfterMs === null) return;
        this.#after(powerCutAfterMs, () => {
          this.#processFaults.crash(process, RESTART_DELAY_MS, true);
        });
      },
      "full-disk": ({ node, ms }) => {
        this.#set(this.#process(node).diskSpace, "isFull", true, ms);
      },
      "begin-anew": ({ node, ms }) => {
        const process = this.#process(node);
        if (!process.isUp) return;
        this.#processFaults.crash(process, ms);
        process.tryToBeginAnew(this.#parts.operator.firstMembers);
      },
      "second-process": ({ node }) => {
        this.#process(node).openTwice();
      },
      "short-transfers": ({ node, ms }) => {
        this.#set(this.#process(node).diskFaults, "shortTransfers", true, ms);
      },
      "bit-flip": ({ node, ms }) => {
        const process = this.#process(node);
        if (this.#mayDamage(process)) this.#processFaults.flipBit(process, ms);
      },
      "lost-write": (fault) => {
        this.#loseWrite(this.#process(fault.node), fault);
      },
    };
  }

  #snapshotHandlers(): HandlersOf<SnapshotFault> {
    return {
      snapshot: ({ node }) => {
        this.#parts.operator.snapshot(this.#process(node));
      },
      "spoil-snapshot": (fault) => {
        const process = this.#process(fault.node);
        if (this.#mayDamage(process)) this.#processFaults.damageSnapshot(process, fault);
      },
      "snapshot-disk-error": ({ node, error }) => {
        const shortBytes = this.#parts.chance.pick(SHORT_WRITES);
        this.#process(node).diskFaults.next = snapshotDiskError(error, shortBytes);
      },
      "snapshot-error-at-rename": ({ node, error, after }) => {
        const process = this.#process(node);
        process.onSnapshotRename = (isReceived) => {
          if (!isReceived) return;
          process.onSnapshotRename = null;
          const fault = snapshotDiskError(error, this.#parts.chance.pick(SHORT_WRITES));
          let left = after;
          process.diskFaults.next = (operation) => {
            const found = fault(operation);
            if (found === null || left === 0) return found;
            left -= 1;
            return null;
          };
        };
      },
      "crash-at-snapshot": ({ node, calls, ms }) => {
        const process = this.#process(node);
        process.onSnapshotRename = () => {
          process.onSnapshotRename = null;
          this.#processFaults.crashAtCall(process, calls, ms);
        };
      },
    };
  }

  #leaderHandlers(): HandlersOf<LeaderFault> {
    const faults = this.#leaderFaults;
    return {
      "strand-leader": (fault) => {
        faults.strand(fault);
      },
      "lonely-leader": (fault) => {
        faults.isolate(fault);
      },
      "stall-leader": ({ ms }) => {
        faults.stall(ms);
      },
      "deaf-handover": ({ target, ms }) => {
        if (target === "hears") faults.transferAndDelay(ms);
        else faults.transferInVain(target, ms);
      },
      "busy-receivers": (fault) => {
        faults.keepReceiversBusy(fault);
      },
      "failed-installation": (fault) => {
        faults.failInstallation(fault);
      },
      "contested-fetch": (fault) => {
        faults.contestFetch(fault);
      },
      "leader-without-voters": (fault) => {
        faults.leaveWithoutVoters(fault);
      },
    };
  }

  #userHandlers(): HandlersOf<OperatorFault | ClientFault> {
    const { operator, clients } = this.#parts;
    const faults = this.#leaderFaults;
    return {
      change: (fault) => {
        operator.requestChange(fault);
      },
      transfer: ({ toAnyone = false }) => {
        operator.transfer(undefined, toAnyone ? null : undefined);
      },
      "greet-leader": (fault) => {
        this.#greetings.push(fault);
      },
      "interrupt-change": (fault) => {
        faults.interruptChange(fault);
      },
      wipe: ({ node }) => {
        const process = this.#process(node);
        if (process.isGone || !operator.canWipe(process)) return;
        operator.wipe(process);
        clearFaults(process);
      },
      "roll-back": ({ node, ms }) => {
        const process = this.#process(node);
        const copy = process.disk.copy();
        copy.crash(this.#parts.chance.random);
        this.#after(ms, () => {
          this.#rollBack(process, process.disk, copy, ROLL_BACK_PATIENCE_MS);
        });
      },
      "found-again": ({ node, others }) => {
        operator.initializeAgain(this.#process(node), others);
      },
      quiet: ({ ms }) => {
        this.#set(clients, "quiet", true, ms);
      },
      burst: ({ node, writes }) => {
        faults.burst(node === null ? null : this.#process(node), writes);
      },
      bulk: (fault) => {
        faults.callInBulk(fault.node === undefined ? null : this.#process(fault.node), fault);
      },
    };
  }

  /** The first other node for which a vote is durable is lost at that moment, unless the cluster needs it. */
  #destroyNextCandidate(): void {
    const { processes } = this.#parts;
    let isOver = false;
    for (const voter of processes) {
      voter.onVoteDurable = (votedFor) => {
        const candidate = processes.find(({ id }) => id === votedFor);
        if (isOver || candidate === undefined || candidate === voter) return;
        isOver = true;
        // Later than the end of the voter's write, so that the voter still sends its vote.
        this.#after(0, () => {
          this.#destroy(candidate);
        });
      };
    }
  }

  #destroy(process: SimProcess): void {
    const { operator, trace } = this.#parts;
    if (process.isGone || !operator.canDestroy(process)) return;
    operator.noteDamaged(process);
    trace(`${process.id} is lost for good`);
    process.destroy();
    this.struck.types.add("destroy");
  }

  /** Clients read from the process from the moment at which it runs. */
  #readFromStart(process: SimProcess, readsMs: number): void {
    if (process.isUp) {
      this.#after(readsMs, this.#parts.clients.readRepeatedly(process, 0));
      return;
    }
    this.#after(START_POLL_MS, () => {
      this.#readFromStart(process, readsMs);
    });
  }

  /** Replaces the node's disk by an older copy of it, as soon as the cluster can bear that. */
  #rollBack(process: SimProcess, from: SimulatedFiles, to: SimulatedFiles, patienceMs: number): void {
    // If the disk was wiped meanwhile, it isn't replaced by the copy of the disk before: that would be
    // another fault.
    if (process.disk !== from || process.refusesToStart) return;
    if (this.#parts.operator.canRollBack(process)) {
      this.#parts.trace(`${process.id} goes on from an older copy of its disk`);
      process.rollBack(to);
      this.struck.types.add("roll-back");
      clearFaults(process);
    } else if (patienceMs > 0) {
      this.#after(ROLL_BACK_POLL_MS, () => {
        this.#rollBack(process, from, to, patienceMs - ROLL_BACK_POLL_MS);
      });
    }
  }

  /**
   * The next write is reported as done and is missing or elsewhere. The node may read it back; then the power
   * fails.
   */
  #loseWrite(process: SimProcess, fault: FaultOf<"lost-write">): void {
    if (!this.#mayDamage(process)) return;
    process.diskFaults.next = ({ type }) => (type === "write" ? fault : null);
    this.#after(fault.ms, () => {
      if (process.isUp) process.readBack().catch(this.#parts.report);
    });
    this.#after(fault.ms + READ_LOG_MS, () => {
      this.#processFaults.crash(process, RESTART_DELAY_MS, true);
    });
  }

  /**
   * The plan damages only a minority of the first members. If members change, or nodes are lost, the operator
   * decides by the current ones.
   */
  #mayDamage(process: SimProcess): boolean {
    const { plan, operator } = this.#parts;
    const isDecidedNow = plan.spares > 0 || plan.faults.some(({ type }) => OTHER_LOSSES.includes(type));
    if (isDecidedNow && !operator.canLose(process)) return false;
    operator.noteDamaged(process);
    return true;
  }

  #cut(fault: FaultOf<"cut" | "partition" | "bridge">): void {
    this.#after(fault.ms, this.#network.cut(linksOf(fault, this.#parts.processes.length)));
  }

  #process(node: number): SimProcess {
    return processOf(this.#parts.processes, node);
  }

  /** Sets a property for so long; afterwards it is false, or 0. */
  #set<K extends string, V extends boolean | number>(
    target: { [key in K]: V },
    key: K,
    value: NoInfer<V>,
    ms: number,
  ): void {
    this.#after(ms, hold(target, key, value, (typeof value === "boolean" ? false : 0) as V));
  }

  #after(ms: number, then: () => void): void {
    this.#parts.clock.setTimer(ms, () => {
      if (!this.#healed) then();
    });
  }
}
