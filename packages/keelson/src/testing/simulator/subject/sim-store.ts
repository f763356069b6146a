/**
 * The subject of runs that name no other: a small key-value store, and clients that put, delete, compare and
 * read.
 */
import type { LogPosition, NodeId } from "../../../core/position.ts";
import { DecodeError } from "../../../errors.ts";
import type {
  ApplyContext,
  OpenedState,
  SessionChanges,
  SessionRecords,
  StateMachine,
  StateMachineCodec,
} from "../../../runtime/shared/index.ts";
import { keyValueModel, type KeyValueInput, type KeyValueOutput } from "../../linearizability/index.ts";
import type { Plan } from "../plan/plan.ts";
import type { CallContext, ReadCall, Subject, WriteCall } from "./subject.ts";

/** The store's commands. Each has a name of its own, `op`, by which the run follows its outcome. */
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
  /** A command that changes nothing, and whose result can't be encoded. */
  | { readonly type: "unspeakable"; readonly op: string }
  /** A command that the state machine rejects by throwing. */
  | { readonly type: "poison"; readonly op: string };

/** What `apply` returns. */
export interface SimResult {
  /** false: a compare-and-set found another value. */
  readonly applied: boolean;
  /** The result can't be encoded. */
  readonly isUnspeakable?: boolean;
}

/**
 * The disk of a durable store: always the whole state after one entry, since `flush` writes it in one step.
 */
interface StoredState {
  /** The last entry whose effects are in `values`. */
  applied: LogPosition;
  values: Map<string, string>;
  /** How many commands were applied, so that one that is applied twice shows in the digest. */
  count: number;
  /** The log time of the last command. */
  timeMs: number;
  /** The session records that `flush` was given, by name. */
  readonly sessions: Map<string, Uint8Array>;
}

/** The size of a snapshot's pieces. Small, so that a snapshot has many. */
const PIECE_BYTES = 200;

/** With ballast, a snapshot is cut into larger pieces, so that it has at most this many. */
const PIECES_OF_BALLAST = 16;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

const codec: StateMachineCodec<SimCommand, SimResult> = {
  encode: (command) => encoder.encode(textOf(command)),
  decode: (bytes) => commandOfText(decoder.decode(bytes)),
  encodeResult: (result) => {
    if (result.isUnspeakable === true) throw new RangeError("this result has no bytes");
    return encoder.encode(JSON.stringify(result));
  },
  decodeResult: (bytes) => JSON.parse(decoder.decode(bytes)) as SimResult,
};

/**
 * The commands that nodes decoded last, by their texts: each node decodes each command, and commands never
 * change.
 */
const decoded = new Map<string, SimCommand>();

/** How many decoded commands are kept. More are seldom under way at a time, except in bulk. */
const DECODED_MAX = 500;

/** The texts of commands. Each command is described for the trace, and again by each node that applies it. */
const texts = new WeakMap<SimCommand, string>();

function textOf(command: SimCommand): string {
  let text = texts.get(command);
  if (text === undefined) {
    text = JSON.stringify(command);
    texts.set(command, text);
  }
  return text;
}

function commandOfText(text: string): SimCommand {
  const known = decoded.get(text);
  if (known !== undefined) return known;
  const command = JSON.parse(text) as SimCommand;
  if (typeof command.op !== "string") throw new DecodeError("a command without a name");
  if (decoded.size >= DECODED_MAX) decoded.clear();
  decoded.set(text, command);
  return command;
}

/**
 * A key-value state machine, in memory or durable. A durable one stores its state and its position in one
 * step.
 */
export class SimStore implements StateMachine<SimCommand, SimResult> {
  readonly codec: StateMachineCodec<SimCommand, SimResult> = codec;
  /** null: the state is in memory only. */
  readonly #disk: StoredState | null;
  readonly logTimeStepMs: number | undefined;
  #values = new Map<string, string>();
  #count = 0;
  /** The log time of the last command: a part of the state, as a deadline of a lock would be. */
  #timeMs = 0;
  readonly #ballastBytes: number;

  /**
   * `disk` null: the state is rebuilt from the log after a crash. `ballastBytes`: the least size of its
   * snapshots. `logTimeStepMs` null: the state machine doesn't use log time.
   */
  constructor(disk: StoredState | null, ballastBytes = 0, logTimeStepMs: number | null = null) {
    this.#disk = disk;
    this.logTimeStepMs = logTimeStepMs ?? undefined;
    this.#ballastBytes = ballastBytes;
  }

  open(): OpenedState {
    if (this.#disk === null) return { term: 0, index: 0 };
    this.#values = new Map(this.#disk.values);
    this.#count = this.#disk.count;
    this.#timeMs = this.#disk.timeMs;
    return { ...this.#disk.applied, sessions: new Map(this.#disk.sessions) };
  }

  apply(command: SimCommand, { logTimeMs }: ApplyContext): SimResult {
    this.#count += 1;
    if (this.logTimeStepMs !== undefined) this.#timeMs = logTimeMs;
    const applied = this.#change(command);
    return command.type === "unspeakable" ? { applied, isUnspeakable: true } : { applied };
  }

  flush(applied: LogPosition, sessions: SessionChanges): void {
    if (this.#disk === null) return;
    for (const [name, value] of sessions) {
      if (value === null) this.#disk.sessions.delete(name);
      else this.#disk.sessions.set(name, value);
    }
    this.#disk.values = new Map(this.#values);
    this.#disk.count = this.#count;
    this.#disk.timeMs = this.#timeMs;
    this.#disk.applied = applied;
  }

  /** Encodes the state at the first call, so that commands applied while it is read don't show. */
  async *snapshot(): AsyncGenerator<Uint8Array, void, undefined> {
    const state = [this.#count, [...this.#values], ...(this.#timeMs > 0 ? [this.#timeMs] : [])];
    const bytes = encoder.encode(JSON.stringify(state).padEnd(this.#ballastBytes));
    const pieceBytes = Math.max(PIECE_BYTES, Math.ceil(this.#ballastBytes / PIECES_OF_BALLAST));
    for (let from = 0; from < bytes.length; from += pieceBytes) yield bytes.slice(from, from + pieceBytes);
  }

  async restore(state: AsyncIterable<Uint8Array>, at: LogPosition, sessions: SessionRecords): Promise<void> {
    const pieces: Uint8Array[] = [];
    for await (const piece of state) pieces.push(piece.slice());
    const text = decoder.decode(Buffer.concat(pieces));
    const [count, values, timeMs = 0] = JSON.parse(text) as [number, [string, string][], number?];
    this.#count = count;
    this.#timeMs = timeMs;
    this.#values = new Map(values);
    this.#disk?.sessions.clear();
    this.flush(at, sessions);
  }

  /** The value of a key; null: it has none. */
  get(key: string): string | null {
    return this.#values.get(key) ?? null;
  }

  /** The whole state in one line, to compare it with another node's. */
  digest(): string {
    const values = [...this.#values].sort(([a], [b]) => (a < b ? -1 : 1));
    return JSON.stringify([this.#count, values, this.#timeMs]);
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
      case "unspeakable":
        return true;
      case "poison":
        throw new Error("this command is always rejected");
    }
  }
}

type SimContext = CallContext<SimStore>;

/** Makes the subject of one run. */
export function simStoreSubject(
  plan: Plan,
): Subject<SimStore, SimCommand, SimResult, KeyValueInput, KeyValueOutput> {
  const disks = new Map<NodeId, StoredState>();
  const diskOf = (id: NodeId): StoredState => {
    const disk = disks.get(id) ?? {
      applied: { term: 0, index: 0 },
      values: new Map(),
      count: 0,
      timeMs: 0,
      sessions: new Map(),
    };
    disks.set(id, disk);
    return disk;
  };
  return {
    model: keyValueModel(),
    machine: ({ id }) =>
      new SimStore(
        plan.durableState ? diskOf(id) : null,
        plan.snapshots?.ballastBytes ?? 0,
        plan.logTimeStepMs,
      ),
    write: (context) => writeOf(context, plan.valueBytesMax),
    read: ({ key }): ReadCall<SimStore, KeyValueInput, KeyValueOutput> => ({
      input: { type: "get", key },
      query: (store) => ({ value: store.get(key) }),
    }),
    describe: textOf,
    nameOf: ({ op }) => op,
    forget: (id) => disks.delete(id),
    digest: (store) => store.digest(),
  };
}

function writeOf(
  context: SimContext,
  valueBytesMax: number,
): WriteCall<SimCommand, SimResult, KeyValueInput, KeyValueOutput> {
  const command = commandOf(context, valueBytesMax);
  return {
    command,
    input: inputOf(command),
    output: ({ applied }) => ({ applied }),
    ...(isRejected(command) ? { rejected: () => ({}) } : {}),
  };
}

/** Whether the command may end in an error: `apply` throws, or its result can't be encoded. */
function isRejected({ type }: SimCommand): boolean {
  return type === "poison" || type === "unspeakable";
}

function commandOf({ chance, number, key, machines }: SimContext, valueBytesMax: number): SimCommand {
  const op = `w${String(number)}`;
  const value = op.padEnd(chance.whole(op.length, Math.max(op.length, valueBytesMax)), ".");
  const dice = chance.random();
  if (dice < 0.01) return { type: "unspeakable", op };
  if (dice < 0.03) return { type: "poison", op };
  if (dice < 0.15) return { type: "delete", op, key };
  if (dice < 0.4) {
    // The value that some node holds now: often the current one, sometimes a stale one.
    const seen = chance.pick(machines)?.get(key) ?? null;
    return { type: "compare-and-set", op, key, from: seen, to: value };
  }
  return { type: "put", op, key, value };
}

function inputOf(command: SimCommand): KeyValueInput | null {
  switch (command.type) {
    case "put":
      return { type: "put", key: command.key, value: command.value };
    case "delete":
      return { type: "delete", key: command.key };
    case "compare-and-set":
      return { type: "compare-and-set", key: command.key, from: command.from, to: command.to };
    case "unspeakable":
    case "poison":
      return null;
  }
}
