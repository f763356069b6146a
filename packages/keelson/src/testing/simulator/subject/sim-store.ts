import type { LogPosition, NodeId } from "../../../core/position.ts";
import { DecodeError } from "../../../errors.ts";
import type {
  OpenedState,
  SessionChanges,
  SessionRecords,
  StateMachine,
  StateMachineCodec,
} from "../../../runtime/shared/index.ts";
import { keyValueModel, type KeyValueInput, type KeyValueOutput } from "../../linearizability/index.ts";
import type { Plan } from "../plan/plan.ts";
import type { CallContext, ReadCall, Subject, WriteCall } from "./subject.ts";

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
  /** A command that changes nothing, and whose result can't be encoded. */
  | { readonly type: "unspeakable"; readonly op: string }
  /** A command that the state machine rejects by throwing. */
  | { readonly type: "poison"; readonly op: string };

export interface SimResult {
  readonly applied: boolean;
  /** It can't be encoded. */
  readonly isUnspeakable?: boolean;
}

/** What a durable state machine has on its disk: always the state after some entry, whole. */
interface StoredState {
  applied: LogPosition;
  values: Map<string, string>;
  /** How many commands were applied: one that counts twice or not at all shows. */
  count: number;
  readonly sessions: Map<string, Uint8Array>;
}

/** Small, so that a snapshot has many. */
const PIECE_BYTES = 200;

/** Many, and not as many as there are bytes. */
const PIECES_OF_BALLAST = 16;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

const codec: StateMachineCodec<SimCommand, SimResult> = {
  encode: (command) => encoder.encode(JSON.stringify(command)),
  decode: (bytes) => {
    const command = JSON.parse(decoder.decode(bytes)) as SimCommand;
    if (typeof command.op !== "string") throw new DecodeError("a command without a name");
    return command;
  },
  encodeResult: (result) => {
    if (result.isUnspeakable === true) throw new RangeError("this result has no bytes");
    return encoder.encode(JSON.stringify(result));
  },
  decodeResult: (bytes) => JSON.parse(decoder.decode(bytes)) as SimResult,
};

/** A key-value state machine made for the simulation: in memory, or with its state and position in one atomic record on "disk". */
export class SimStore implements StateMachine<SimCommand, SimResult> {
  readonly codec = codec;
  readonly #disk: StoredState | null;
  #values = new Map<string, string>();
  #count = 0;
  readonly #ballastBytes: number;

  /**
   * `disk` null: the state is kept in memory, and built again from the log after a crash. `ballastBytes`: so much
   * more is in its snapshots.
   */
  constructor(disk: StoredState | null, ballastBytes = 0) {
    this.#disk = disk;
    this.#ballastBytes = ballastBytes;
  }

  open(): OpenedState {
    if (this.#disk === null) return { term: 0, index: 0 };
    this.#values = new Map(this.#disk.values);
    this.#count = this.#disk.count;
    return { ...this.#disk.applied, sessions: new Map(this.#disk.sessions) };
  }

  apply(command: SimCommand): SimResult {
    this.#count += 1;
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
    this.#disk.applied = applied;
  }

  /** All at once, and then in pieces, so that what is applied meanwhile does not show. */
  async *snapshot(): AsyncGenerator<Uint8Array, void, undefined> {
    const bytes = encoder.encode(JSON.stringify([this.#count, [...this.#values]]).padEnd(this.#ballastBytes));
    const pieceBytes = Math.max(PIECE_BYTES, Math.ceil(this.#ballastBytes / PIECES_OF_BALLAST));
    for (let from = 0; from < bytes.length; from += pieceBytes) yield bytes.slice(from, from + pieceBytes);
  }

  async restore(state: AsyncIterable<Uint8Array>, at: LogPosition, sessions: SessionRecords): Promise<void> {
    const pieces: Uint8Array[] = [];
    for await (const piece of state) pieces.push(piece.slice());
    const text = decoder.decode(Buffer.concat(pieces));
    const [count, values] = JSON.parse(text) as [number, [string, string][]];
    this.#count = count;
    this.#values = new Map(values);
    this.#disk?.sessions.clear();
    this.flush(at, sessions);
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
      case "unspeakable":
        return true;
      case "poison":
        throw new Error("this command is always rejected");
    }
  }
}

type SimContext = CallContext<SimStore>;

/** What is simulated unless something else is asked for: `SimStore`, and clients that put, delete, compare and read. */
export function simStoreSubject(
  plan: Plan,
): Subject<SimStore, SimCommand, SimResult, KeyValueInput, KeyValueOutput> {
  const disks = new Map<NodeId, StoredState>();
  const diskOf = (id: NodeId): StoredState => {
    const disk = disks.get(id) ?? {
      applied: { term: 0, index: 0 },
      values: new Map(),
      count: 0,
      sessions: new Map(),
    };
    disks.set(id, disk);
    return disk;
  };
  return {
    model: keyValueModel(),
    machine: ({ id }) =>
      new SimStore(plan.durableState ? diskOf(id) : null, plan.snapshots?.ballastBytes ?? 0),
    write: (context) => writeOf(context, plan.valueBytesMax),
    read: ({ key }): ReadCall<SimStore, KeyValueInput, KeyValueOutput> => ({
      input: { type: "get", key },
      query: (store) => ({ value: store.get(key) }),
    }),
    describe: (command) => JSON.stringify(command),
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

/** Outside of sessions an unspeakable command isn't rejected: nobody encodes its result. */
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
    // From what some node shows: often right, sometimes stale.
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
