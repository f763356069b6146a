// The state machine of snapshot tests.

import { ORIGIN, type LogPosition } from "../../core/position.ts";
import type {
  OpenedState,
  SessionRecords,
  StateMachine,
  StateMachineCodec,
} from "../shared/state-machine.ts";

/** The part of a state on disk that survives a crash. */
export interface JournalDisk {
  applied: LogPosition;
  lines: string[];
}

/** A disk without any state. */
export function emptyJournalDisk(): JournalDisk {
  return { applied: ORIGIN, lines: [] };
}

/**
 * Keeps each command with its index, one per line, so a command that was applied twice, or never, or to the
 * wrong state stays visible. Given a disk it stores its state there; without, it keeps it in memory.
 */
export class SnapshotJournal implements StateMachine<string, number> {
  lines: string[] = [];
  restores = 0;
  /** If set, is awaited before each line that `snapshot` yields, and each chunk that `restore` takes. */
  beforeEachLine: (() => Promise<void>) | null = null;
  /** If set, `snapshot` throws it. */
  snapshotFailure: Error | null = null;
  /** Whether `close` was called. */
  isClosed = false;
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
  close(): void {
    this.isClosed = true;
  }
}
