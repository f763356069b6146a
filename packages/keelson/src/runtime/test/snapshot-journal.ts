import { ORIGIN, type LogPosition } from "../../core/position.ts";
import type { OpenedState, SessionRecords, StateMachine, StateMachineCodec } from "../state-machine.ts";

/** What is left of a state on disk after a crash. */
export interface JournalDisk {
  applied: LogPosition;
  lines: string[];
}

/** A state on disk that holds nothing yet. */
export function emptyJournalDisk(): JournalDisk {
  return { applied: ORIGIN, lines: [] };
}

/**
 * A state machine for tests of snapshots: it writes down each command with its index, so that one that is applied
 * twice, or never, or to the wrong state, shows for ever. With a disk it keeps all of it there; without, in memory.
 */
export class SnapshotJournal implements StateMachine<string, number> {
  lines: string[] = [];
  restores = 0;
  /** Waits before each line that a snapshot gives away, and each that it takes in. */
  beforeEachLine: (() => Promise<void>) | null = null;
  /** Thrown by the snapshot that is being taken. */
  snapshotFailure: Error | null = null;
  readonly #disk: JournalDisk | null;

  readonly codec: StateMachineCodec<string, number> = {
    encode: (command) => new TextEncoder().encode(command),
    decode: (bytes) => new TextDecoder().decode(bytes),
    encodeResult: (result) => new TextEncoder().encode(String(result)),
    decodeResult: (bytes) => Number(new TextDecoder().decode(bytes)),
  };

  constructor(disk: JournalDisk | null = null) {
    this.#disk = disk;
  }

  open(): OpenedState {
    if (this.#disk === null) return ORIGIN;
    this.lines = [...this.#disk.lines];
    return { ...this.#disk.applied, sessions: new Map() };
  }

  apply(command: string, at: LogPosition): number {
    this.lines.push(`${String(at.index)} ${command}`);
    return this.lines.length;
  }

  flush(applied: LogPosition): void {
    if (this.#disk === null) return;
    this.#disk.applied = applied;
    this.#disk.lines = [...this.lines];
  }

  async *snapshot(): AsyncGenerator<Uint8Array, void, undefined> {
    const lines = [...this.lines];
    for (const line of lines) {
      await this.beforeEachLine?.();
      if (this.snapshotFailure !== null) throw this.snapshotFailure;
      yield new TextEncoder().encode(`${line}\n`);
    }
  }

  async restore(state: AsyncIterable<Uint8Array>, at: LogPosition, _sessions: SessionRecords): Promise<void> {
    const decoder = new TextDecoder();
    let text = "";
    for await (const chunk of state) {
      await this.beforeEachLine?.();
      text += decoder.decode(chunk, { stream: true });
    }
    this.restores += 1;
    this.lines = text === "" ? [] : text.trimEnd().split("\n");
    this.flush(at);
  }
}
