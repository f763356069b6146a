/**
 * Checks what a node promises its state machine (`StateMachine`), for one process.
 *
 * - SMS: calls don't overlap; a snapshot is taken between two batches only; a batch's flush names its last
 *   entry; no session record is newer than the entry whose state it belongs to; and a call that doesn't hang
 *   ends before the state machine is closed.
 *
 * A broken promise may do no harm in the run at hand: a snapshot that holds half a batch shows only once a
 * node is restored from it, and then only beside a node that wasn't.
 */
import type { LogIndex, LogPosition } from "../../../core/position.ts";
import type { SessionChanges, SessionRecords } from "../../../runtime/shared/index.ts";
import { Violation } from "./violation.ts";

/** The calls that exclude each other. `snapshot` only begins to read: its chunks come beside other calls. */
type ExclusiveCall = "apply" | "flush" | "restore";

/**
 * A node that closes waits so long for a call of the state machine, in milliseconds: somewhat less than the
 * runtime's own constant, as clocks drift. A call that was under way when the node began to close, and is
 * younger, was not waited for.
 */
const WAITED_FOR_MS = 300;

/** The bytes of one number in a session record, as `SessionChanges` describes them. */
const NUMBER_BYTES = 8;

/** See the file's header. */
export class MachineContract {
  readonly #id: string;
  readonly #report: (error: Violation) => void;
  /** The call under way; null: none is. */
  #call: ExclusiveCall | null = null;
  /** The last entry that was applied since the last flush; null: no batch is open. */
  #applied: LogIndex | null = null;
  /** How many snapshots are being read. */
  #readers = 0;

  /**
   * `report` is given each violation. If it were thrown, it would reach the library, which would take it for
   * a failure of the state machine.
   */
  constructor(id: string, report: (error: Violation) => void) {
    this.#id = id;
    this.#report = report;
  }

  /** `apply` is called for this entry. */
  applying({ index }: LogPosition): void {
    this.#began("apply");
    this.#applied = index;
  }

  /** `flush` is called. A batch may end with entries without a command. */
  flushing(at: LogPosition, sessions: SessionChanges): void {
    this.#began("flush");
    this.#check(
      this.#applied === null || this.#applied <= at.index,
      () => `entry ${String(this.#applied)} is applied, and the flush says ${String(at.index)}`,
    );
    this.#applied = null;
    this.#checkRecords("the flush", at, sessions);
  }

  /** `restore` is called. */
  restoring(at: LogPosition, sessions: SessionRecords): void {
    this.#began("restore");
    this.#check(
      this.#applied === null && this.#readers === 0,
      () => "a snapshot is restored in the middle of a batch, or while the state is read for another",
    );
    this.#checkRecords("the snapshot", at, sessions);
  }

  /** `close` is called, so many milliseconds after the last of the other calls began. */
  closing(ageMs: number): void {
    this.#check(
      this.#call === null || ageMs >= WAITED_FOR_MS,
      () => `it is closed during ${String(this.#call)}, which began ${String(ageMs)} ms before`,
    );
  }

  /** The call that was begun last has ended, whether or not it failed: the next one may begin. */
  ended(): void {
    this.#call = null;
  }

  /** `snapshot` is called: the state must be that after a whole batch. */
  snapshotBegan(): void {
    this.#check(this.#applied === null, () => `a snapshot begins in a batch, after ${String(this.#applied)}`);
    this.#readers += 1;
  }

  /** A snapshot has been read to its end, or given up: once none is being read, the state may be restored. */
  snapshotEnded(): void {
    this.#readers -= 1;
  }

  #began(call: ExclusiveCall): void {
    this.#check(this.#call === null, () => `${call} is called during ${String(this.#call)}`);
    this.#call = call;
  }

  /**
   * Sessions as of an entry were opened, last used, and answered by that entry at the latest. A node that is
   * restored with the answer of a later entry takes that entry, which it applies next, for a repetition.
   */
  #checkRecords(what: string, at: LogPosition, records: ReadonlyMap<string, Uint8Array | null>): void {
    for (const [name, bytes] of records) {
      const [type, session] = name.split("/");
      if (bytes === null || (type !== "session" && type !== "answer")) continue;
      const entry = numberIn(bytes, type === "session" ? 2 : 0);
      this.#check(
        Number(session) <= at.index && entry <= at.index,
        () => `${what} of entry ${String(at.index)} holds ${name} as entry ${String(entry)} left it`,
      );
    }
  }

  #check(holds: boolean, text: () => string): void {
    if (!holds) this.#report(new Violation("SMS", `${this.#id}: ${text()}`));
  }
}

/** A number of a session record: unsigned, little-endian. */
function numberIn(bytes: Uint8Array, place: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Number(view.getBigUint64(place * NUMBER_BYTES, true));
}
