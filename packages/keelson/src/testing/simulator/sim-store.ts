import type { LogPosition } from "../../core/position.ts";
import { DecodeError } from "../../errors.ts";
import { StateMachineFailure, type CommandCodec, type StateMachine } from "../../runtime/state-machine.ts";

/** What the simulated clients do. Each change has a name of its own (`op`), so that its fate can be followed. */
export type SimCommand =
  | { readonly type: "put"; readonly op: string; readonly key: string; readonly value: string }
  | { readonly type: "delete"; readonly op: string; readonly key: string }
  | {
      readonly type: "compare-and-set";
      readonly op: string;
      readonly key: string;
      readonly from: string | null;
      readonly to: string;
    }
  /** A command that the state machine rejects by throwing. */
  | { readonly type: "poison"; readonly op: string };

export interface SimResult {
  readonly applied: boolean;
}

/** What a durable state machine has on its disk: always the state after some entry, whole. */
export interface StoredState {
  applied: LogPosition;
  values: Map<string, string>;
  /** How many commands were applied: one that counts twice or not at all shows. */
  count: number;
}

export function emptyState(): StoredState {
  return { applied: { term: 0, index: 0 }, values: new Map(), count: 0 };
}

/** The state machine's own moods. */
export interface StoreMood {
  delayMs: number;
  fails: boolean;
}

export interface SimStoreHooks {
  readonly wait: (ms: number) => Promise<void>;
  /** The state is that after this entry. */
  readonly opened: (applied: LogPosition) => void;
  readonly applying: (command: SimCommand, at: LogPosition) => void;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

const codec: CommandCodec<SimCommand> = {
  encode: (command) => encoder.encode(JSON.stringify(command)),
  decode: (bytes) => {
    const command = JSON.parse(decoder.decode(bytes)) as SimCommand;
    if (typeof command.op !== "string") throw new DecodeError("a command without a name");
    return command;
  },
};

/** The key-value state machine of the simulation: in memory, or with its state and position in one atomic record on "disk". */
export class SimStore implements StateMachine<SimCommand, SimResult> {
  readonly codec = codec;
  readonly #disk: StoredState | null;
  readonly #mood: StoreMood;
  readonly #hooks: SimStoreHooks;
  #values = new Map<string, string>();
  #count = 0;

  /** `disk` null: the state is kept in memory, and built again from the log after a crash. */
  constructor(disk: StoredState | null, mood: StoreMood, hooks: SimStoreHooks) {
    this.#disk = disk;
    this.#mood = mood;
    this.#hooks = hooks;
  }

  open(): LogPosition {
    const applied = this.#disk?.applied ?? { term: 0, index: 0 };
    this.#hooks.opened(applied);
    if (this.#disk === null) return applied;
    this.#values = new Map(this.#disk.values);
    this.#count = this.#disk.count;
    return applied;
  }

  async apply(command: SimCommand, at: LogPosition): Promise<SimResult> {
    if (this.#mood.delayMs > 0) await this.#hooks.wait(this.#mood.delayMs);
    if (this.#mood.fails) throw new StateMachineFailure("the simulated state machine's disk failed");
    this.#hooks.applying(command, at);
    this.#count += 1;
    return { applied: this.#change(command) };
  }

  flush(applied: LogPosition): void {
    if (this.#mood.fails) throw new StateMachineFailure("the simulated state machine's disk failed");
    if (this.#disk === null) return;
    this.#disk.values = new Map(this.#values);
    this.#disk.count = this.#count;
    this.#disk.applied = applied;
  }

  get(key: string): string | null {
    return this.#values.get(key) ?? null;
  }

  /** The whole state in one line, to be compared with another node's. */
  digest(): string {
    const values = [...this.#values].sort(([a], [b]) => (a < b ? -1 : 1));
    return JSON.stringify([this.#count, values]);
  }

  #change(command: SimCommand): boolean {
    switch (command.type) {
      case "put":
        this.#values.set(command.key, command.value);
        return true;
      case "delete":
        this.#values.delete(command.key);
        return true;
      case "compare-and-set":
        if (this.get(command.key) !== command.from) return false;
        this.#values.set(command.key, command.to);
        return true;
      case "poison":
        throw new Error("this command is always rejected");
    }
  }
}
