/**
 * Which types of faults found something to strike in a run. A fault may be planned and do nothing: no node
 * leads, the process is down, or what it waits for never comes. It watches the hooks that faults set on
 * processes, and changes nothing in the run.
 */
import type { Fault, FaultType } from "../plan/faults.ts";
import type { Plan } from "../plan/plan.ts";
import type { SimProcess } from "../world/sim-process.ts";

/** Faults that strike a leader: they do nothing where no node leads. */
const OF_LEADERS: readonly FaultType[] = [
  "strand-leader",
  "lonely-leader",
  "stall-leader",
  "deaf-handover",
  "failed-installation",
  "contested-fetch",
  "busy-receivers",
  "leader-without-voters",
  "interrupt-change",
  "transfer",
  "bulk",
];

/** Faults that strike only where the transport sends datagrams: they change nothing on byte streams. */
const OF_DATAGRAMS: readonly FaultType[] = ["lossy", "late-copies", "stragglers"];

/** Faults that set a hook on a process, and strike when the hook is called. */
const OF_HOOKS: readonly FaultType[] = [
  "crash-at-storage-call",
  "crash-loop",
  "crash-voter",
  "disk-error",
  "lost-write",
  "snapshot-disk-error",
  "snapshot-error-at-rename",
  "crash-at-snapshot",
];

/** The code that carries these out adds them to `types` itself when they strike. */
const SAID_LATER: readonly FaultType[] = ["destroy", "roll-back"];

/** See the file's header. */
export class StruckFaults {
  readonly types: Set<FaultType> = new Set<FaultType>();
  readonly #plan: Plan;
  readonly #processes: readonly SimProcess[];

  constructor(plan: Plan, processes: readonly SimProcess[]) {
    this.#plan = plan;
    this.#processes = processes;
  }

  /** Carries out a fault by `play`, and notes whether it strikes, now or later. */
  watch(fault: Fault, play: () => void): void {
    const node = "node" in fault ? fault.node : null;
    const process = node === null ? undefined : this.#processes[node];
    const hasLeader = this.#processes.some(({ leads }) => leads);
    // A fault whose `node` is null strikes the leader. One without that field strikes all nodes.
    const hasTarget = "node" in fault ? (process?.isUp ?? hasLeader) : true;
    const before = { hasTarget, hasLeader, disk: process?.disk };
    const { type } = fault;
    if (process !== undefined && OF_HOOKS.includes(type)) {
      this.#watchHooks(type, process, play);
      return;
    }
    play();
    if (SAID_LATER.includes(type)) return;
    if (this.#strikes(fault, before, process)) this.types.add(type);
  }

  #strikes(
    { type }: Fault,
    before: { readonly hasTarget: boolean; readonly hasLeader: boolean; readonly disk: unknown },
    process: SimProcess | undefined,
  ): boolean {
    const { transport, nodes } = this.#plan;
    if (OF_LEADERS.includes(type)) return before.hasLeader;
    if (OF_DATAGRAMS.includes(type)) return transport === "datagrams" && nodes > 1;
    if (type === "reset" || type === "unreachable") return transport === "tcp" && nodes > 1;
    if (type === "wipe") return process?.disk !== before.disk;
    if (type === "bit-flip" || type === "spoil-snapshot") return process?.hasDamagedData === true;
    return before.hasTarget;
  }

  /** The hooks that `play` sets on the process call back through this. */
  #watchHooks(type: FaultType, process: SimProcess, play: () => void): void {
    const { diskFaults, diskConditions } = process;
    const { next } = diskFaults;
    const { beforeWrite } = diskConditions;
    const { onVoteDurable, onSnapshotRename } = process;
    play();
    const strikes = (): void => {
      this.types.add(type);
    };
    const setNext = diskFaults.next;
    if (setNext !== null && setNext !== next)
      diskFaults.next = (operation) => {
        const found = setNext(operation);
        if (found !== null) strikes();
        return found;
      };
    const setBeforeWrite = diskConditions.beforeWrite;
    if (setBeforeWrite !== null && setBeforeWrite !== beforeWrite) {
      const watched = (isSync: boolean): void => {
        setBeforeWrite(isSync);
        // The fault has removed its hook, so it has struck.
        if (diskConditions.beforeWrite !== watched) strikes();
      };
      diskConditions.beforeWrite = watched;
    }
    const setOnVote = process.onVoteDurable;
    if (setOnVote !== null && setOnVote !== onVoteDurable)
      process.onVoteDurable = (votedFor) => {
        strikes();
        setOnVote(votedFor);
      };
    const setOnRename = process.onSnapshotRename;
    if (setOnRename !== null && setOnRename !== onSnapshotRename) {
      const watched = (isReceived: boolean): void => {
        setOnRename(isReceived);
        if (process.onSnapshotRename !== watched) strikes();
      };
      process.onSnapshotRename = watched;
    }
  }
}
