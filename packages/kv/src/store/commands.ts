/**
 * The commands of the key-value store, their results, and both as bytes. The log holds encoded commands and
 * sessions hold encoded results, so every later version of this program must read these formats.
 */
import { DecodeError, type StateMachineCodec } from "keelson";

/** The most bytes of a key; the fewest are 1. Ample for a name, and small enough to index and log. */
export const KEY_BYTES_MAX = 1024;

/** Reserved for the rest of a command: its header, the versions of its condition, and its key. */
const OVERHEAD_BYTES_MAX = 2048;

/**
 * The most bytes of a value. A command with this value fits the library's default limit of 1 MiB per command.
 */
export const VALUE_BYTES_MAX: number = 1024 * 1024 - OVERHEAD_BYTES_MAX;

/** The most versions in one condition. A client names one, or the few it has seen. */
export const CONDITION_VERSIONS_MAX = 16;

/**
 * What must hold for a command to take effect. It is checked when the command is applied, so check and change
 * are one atomic step: of two commands that require the same version, only the first takes effect.
 */
export type Condition =
  /** The key has a value. */
  | { readonly type: "exists" }
  /** The key has no value. */
  | { readonly type: "absent" }
  /** The key's version is one of these. An empty list matches nothing. */
  | { readonly type: "version"; readonly versions: readonly number[] };

/** Gives a key a value. */
export interface PutCommand {
  readonly type: "put";
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  /** null: the command always takes effect. */
  readonly condition: Condition | null;
}

/** Removes a key's value. */
export interface DeleteCommand {
  readonly type: "delete";
  readonly key: Uint8Array;
  /** null: the command always takes effect. */
  readonly condition: Condition | null;
}

/** A command of the key-value store. */
export type KvCommand = PutCommand | DeleteCommand;

/** The command took effect. */
export interface Applied {
  readonly type: "applied";
  /** Puts and deletes that were applied before this one: the N in the line protocol's "Appended at N". */
  readonly index: number;
  /** The key's version after a put: the index of its log entry. null after a delete. */
  readonly version: number | null;
  /**
   * Whether the key had a value before. Always null for an unconditional put: looking the key up would cost a
   * read of the database, and the result must not depend on whether a node still has the key in memory.
   */
  readonly existed: boolean | null;
}

/** The condition didn't hold, so nothing changed and nothing was counted. */
export interface ConditionFailed {
  readonly type: "condition-failed";
  /** The key's present version. null: the key has no value. */
  readonly version: number | null;
}

/** What came of a command. */
export type KvResult = Applied | ConditionFailed;

/** Why a key can't be stored, in words. null: it can. */
export function keyProblem(key: Uint8Array): string | null {
  if (key.length === 0) return `the key is empty; a key has 1 to ${KEY_BYTES_MAX} bytes`;
  if (key.length <= KEY_BYTES_MAX) return null;
  return `the key has ${key.length} bytes; the limit is ${KEY_BYTES_MAX}`;
}

/** Why a value can't be stored, in words. null: it can. */
export function valueProblem(value: Uint8Array): string | null {
  if (value.length <= VALUE_BYTES_MAX) return null;
  return `the value has ${value.length} bytes; the limit is ${VALUE_BYTES_MAX}`;
}

/** The state machine's codec. */
export const commandCodec: Required<StateMachineCodec<KvCommand, KvResult>> = {
  encode: encodeCommand,
  decode: decodeCommand,
  encodeResult,
  decodeResult,
};

// An encoded command, all numbers big-endian:
//   0  u8       FORMAT
//   1  u8       one of OPERATIONS
//   2  u8       one of CONDITIONS
//   3  u8       n, the number of versions in the condition
//   4  u16      k, the length of the key
//   6  n × u64  the versions
//      k bytes  the key
//      rest     the value, of a put
const FORMAT = 1;
const HEADER_BYTES = 6;
const VERSION_BYTES = 8;
const OPERATIONS = { put: 1, delete: 2 } as const;
const CONDITIONS = { none: 0, exists: 1, absent: 2, version: 3 } as const;

/** @throws RangeError the key, the value or the condition is beyond the limits */
export function encodeCommand(command: KvCommand): Uint8Array {
  const { key, condition } = command;
  const value = command.type === "put" ? command.value : EMPTY;
  const versions = condition?.type === "version" ? condition.versions : [];
  const problem = keyProblem(key) ?? valueProblem(value) ?? versionsProblem(versions);
  if (problem !== null) throw new RangeError(problem);
  const keyAt = HEADER_BYTES + versions.length * VERSION_BYTES;
  const bytes = Buffer.allocUnsafe(keyAt + key.length + value.length);
  bytes[0] = FORMAT;
  bytes[1] = OPERATIONS[command.type];
  bytes[2] = CONDITIONS[condition?.type ?? "none"];
  bytes[3] = versions.length;
  bytes.writeUInt16BE(key.length, 4);
  versions.forEach((version, at) =>
    bytes.writeBigUInt64BE(BigInt(version), HEADER_BYTES + at * VERSION_BYTES),
  );
  bytes.set(key, keyAt);
  bytes.set(value, keyAt + key.length);
  return bytes;
}

/** @throws DecodeError the bytes are damaged, or were written by a later version of this program */
export function decodeCommand(bytes: Uint8Array): KvCommand {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view[0] !== FORMAT) {
    throw new DecodeError(`a command of format ${view[0] ?? "none"}; this program reads format ${FORMAT}`);
  }
  if (view.length < HEADER_BYTES) throw new DecodeError(`a command of ${view.length} bytes is cut short`);
  const versionsLength = view[3] ?? 0;
  const keyLength = view.readUInt16BE(4);
  const keyAt = HEADER_BYTES + versionsLength * VERSION_BYTES;
  const valueAt = keyAt + keyLength;
  if (view.length < valueAt) throw new DecodeError(`a command of ${view.length} bytes is cut short`);
  const condition = decodeCondition(view, versionsLength);
  const key = view.subarray(keyAt, valueAt);
  const value = view.subarray(valueAt);
  const problem = keyProblem(key) ?? valueProblem(value);
  if (problem !== null) throw new DecodeError(`a command that cannot be: ${problem}`);
  if (view[1] === OPERATIONS.put) return { type: "put", key, value, condition };
  if (view[1] !== OPERATIONS.delete) throw new DecodeError(`a command of unknown kind ${String(view[1])}`);
  if (value.length > 0) throw new DecodeError("a delete that carries a value");
  return { type: "delete", key, condition };
}

// An encoded result, all numbers big-endian:
//   0  u8   FORMAT
//   1  u8   one of OUTCOMES
//   2  u8   whether the key had a value before: an index into EXISTED
//   3  u64  the version; 0: none
//  11  u64  the index, of a command that took effect; else 0
const OUTCOMES = { applied: 1, "condition-failed": 2 } as const;
const EXISTED = [null, false, true] as const;
const RESULT_BYTES = 19;

/** The same bytes on every node for the same result. */
export function encodeResult(result: KvResult): Uint8Array {
  const isApplied = result.type === "applied";
  const bytes = Buffer.alloc(RESULT_BYTES);
  bytes[0] = FORMAT;
  bytes[1] = OUTCOMES[result.type];
  bytes[2] = isApplied ? EXISTED.indexOf(result.existed) : 0;
  bytes.writeBigUInt64BE(BigInt(result.version ?? 0), 3);
  bytes.writeBigUInt64BE(BigInt(isApplied ? result.index : 0), 11);
  return bytes;
}

/** @throws DecodeError the bytes are damaged, or were written by a later version of this program */
export function decodeResult(bytes: Uint8Array): KvResult {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view[0] !== FORMAT || view.length !== RESULT_BYTES) {
    throw new DecodeError(
      `a result of format ${view[0] ?? "none"} and ${view.length} bytes; this program reads format ${FORMAT}`,
    );
  }
  const version = Number(view.readBigUInt64BE(3)) || null;
  if (view[1] === OUTCOMES["condition-failed"]) return { type: "condition-failed", version };
  const existed = EXISTED[view[2] ?? EXISTED.length];
  if (view[1] !== OUTCOMES.applied || existed === undefined)
    throw new DecodeError("a result that no command has");
  return { type: "applied", index: Number(view.readBigUInt64BE(11)), version, existed };
}

const EMPTY = new Uint8Array(0);

function decodeCondition(view: Buffer, versionsLength: number): Condition | null {
  const type = view[2];
  if (type !== CONDITIONS.version && versionsLength > 0) {
    throw new DecodeError("a command names versions that its condition does not use");
  }
  switch (type) {
    case CONDITIONS.none:
      return null;
    case CONDITIONS.exists:
      return { type: "exists" };
    case CONDITIONS.absent:
      return { type: "absent" };
    case CONDITIONS.version: {
      const versions = Array.from({ length: versionsLength }, (_, at) =>
        Number(view.readBigUInt64BE(HEADER_BYTES + at * VERSION_BYTES)),
      );
      const problem = versionsProblem(versions);
      if (problem !== null) throw new DecodeError(`a command that cannot be: ${problem}`);
      return { type: "version", versions };
    }
    default:
      throw new DecodeError(`a command with a condition of unknown kind ${String(type)}`);
  }
}

/** Why a condition can't name these versions, in words. null: it can. */
function versionsProblem(versions: readonly number[]): string | null {
  if (versions.length > CONDITION_VERSIONS_MAX) {
    return `the condition names ${versions.length} versions; the limit is ${CONDITION_VERSIONS_MAX}`;
  }
  const bad = versions.find((version) => !Number.isSafeInteger(version) || version < 1);
  return bad === undefined ? null : `${bad} is not a version: versions are whole numbers from 1`;
}
