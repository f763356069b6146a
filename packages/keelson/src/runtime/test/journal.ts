// The state machine of the runtime's tests.

import { ORIGIN, type LogPosition } from "../../core/position.ts";
import {
  StateMachineFailure,
  type OpenedState,
  type SessionChanges,
  type StateMachine,
  type StateMachineCodec,
} from "../shared/state-machine.ts";

/**
 * Keeps all commands in order, and answers each with their count. The command "reject" throws on every node
 * alike; "break" throws a `StateMachineFailure`, as if this node's own disk had failed.
 */
export class Journal implements StateMachine<string, number> {
  readonly commands: { readonly at: LogPosition; readonly command: string }[] = [];
  /** If set, is awaited before each command. */
  beforeApply: (() => Promise<void>) | null = null;
  flushFailure: Error | null = null;
  flushed: LogPosition = ORIGIN;
  isClosed = false;
  /** The last entry that the state holds when it is opened. */
  reopenedAt: LogPosition = ORIGIN;

  /** The stored session records; null: the state is in memory and stores none. */
  sessions: Map<string, Uint8Array> | null = null;

  readonly codec: StateMachineCodec<string, number> = {
    encode: (command: string): Uint8Array => new TextEncoder().encode(command),
    decode: (bytes: Uint8Array): string => new TextDecoder().decode(bytes),
    encodeResult: (result) => new TextEncoder().encode(String(result)),
    decodeResult: (bytes) => Number(new TextDecoder().decode(bytes)),
  };

  open(): OpenedState {
    return this.sessions === null ? this.reopenedAt : { ...this.reopenedAt, sessions: this.sessions };
  }

  /** The state machine as it is after a restart, if its state and its sessions are on disk. */
  reopened(): Journal {
    const journal = new Journal();
    journal.reopenedAt = this.flushed;
    journal.sessions = new Map(this.sessions);
    return journal;
  }

  apply(command: string, at: LogPosition): number | Promise<number> {
    if (this.beforeApply === null) return this.#apply(command, at);
    return this.beforeApply().then(() => this.#apply(command, at));
  }

  flush(applied: LogPosition, sessions: SessionChanges): Promise<void> | void {
    if (this.flushFailure !== null) throw this.flushFailure;
    for (const [name, value] of sessions) {
      if (value === null) this.sessions?.delete(name);
      else this.sessions?.set(name, value);
    }
    this.flushed = applied;
  }

  close(): void {
    this.isClosed = true;
  }

  /** The commands, without their positions. */
  get texts(): string[] {
    return this.commands.map(({ command }) => command);
  }

  #apply(command: string, at: LogPosition): number {
    const last = this.commands.at(-1)?.at.index ?? this.reopenedAt.index;
    if (at.index <= last)
      throw new StateMachineFailure(`entry ${String(at.index)} was applied after ${String(last)}`);
    if (command === "break") throw new StateMachineFailure("the disk of the state machine broke");
    this.commands.push({ at, command });
    if (command === "reject") throw new Error("this command is not for us");
    return this.commands.length;
  }
}
