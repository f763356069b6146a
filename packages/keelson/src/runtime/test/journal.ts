import { ORIGIN, type LogPosition } from "../../core/position.ts";
import { StateMachineFailure, type StateMachine } from "../state-machine.ts";

/**
 * A state machine for tests: it keeps all commands in order and answers with their count. The
 * command "reject" throws on every node alike; "break" is a failure of the node's own.
 */
export class Journal implements StateMachine<string, number> {
  readonly commands: { readonly at: LogPosition; readonly command: string }[] = [];
  /** Waits before each command. */
  pause: (() => Promise<void>) | null = null;
  flushFailure: Error | null = null;
  flushed: LogPosition = ORIGIN;
  isClosed = false;
  /** What `open` says it holds. */
  openedAt: LogPosition = ORIGIN;

  readonly codec = {
    encode: (command: string): Uint8Array => new TextEncoder().encode(command),
    decode: (bytes: Uint8Array): string => new TextDecoder().decode(bytes),
  };

  open(): LogPosition {
    return this.openedAt;
  }

  apply(command: string, at: LogPosition): number | Promise<number> {
    if (this.pause === null) return this.#apply(command, at);
    return this.pause().then(() => this.#apply(command, at));
  }

  flush(applied: LogPosition): Promise<void> | void {
    if (this.flushFailure !== null) throw this.flushFailure;
    this.flushed = applied;
  }

  close(): void {
    this.isClosed = true;
  }

  /** The commands alone. */
  get texts(): string[] {
    return this.commands.map(({ command }) => command);
  }

  #apply(command: string, at: LogPosition): number {
    const last = this.commands.at(-1)?.at.index ?? this.openedAt.index;
    if (at.index <= last)
      throw new StateMachineFailure(`entry ${String(at.index)} was applied after ${String(last)}`);
    if (command === "break") throw new StateMachineFailure("the disk of the state machine broke");
    this.commands.push({ at, command });
    if (command === "reject") throw new Error("this command is not for us");
    return this.commands.length;
  }
}
