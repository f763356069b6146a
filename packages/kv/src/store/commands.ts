import { DecodeError, type StateMachineCodec } from "keelson";

/** Bytes of a key: at least 1. Far more than a name needs, and small enough to index and to log. */
export const KEY_BYTES_MAX = 1024;

/** What a command needs besides its value: the header, the versions of its condition and the key. */
const OVERHEAD_BYTES_MAX = 2048;

/** Bytes of a value. With key and header it fits the library's limit for one command, 1 MiB by default. */
export const VALUE_BYTES_MAX = 1024 * 1024 - OVERHEAD_BYTES_MAX;

/** Versions that one condition may name. A client knows one, or the few it has seen. */
export const CONDITION_VERSIONS_MAX = 16;

/**
 * What must be so for a command to take effect. It is checked where the command is applied, so it is
 * atomic with the change: of two commands that want the same version, one finds it gone.
 */
export type Condition =
  | { readonly type: "exists" }
  | { readonly type: "absent" }
  /** The key's version is one of these; an empty list matches nothing. */
  | { readonly type: "version"; readonly versions: readonly number[] };

export interface PutCommand {
  readonly type: "put";
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  /** null: always. */
  readonly condition: Condition | null;
}

export interface DeleteCommand {
  readonly type: "delete";
  readonly key: Uint8Array;
  readonly condition: Condition | null;
}

export type KvCommand = PutCommand | DeleteCommand;

/** The command took effect. */
export interface Applied {
  readonly type: "applied";
  /** How many puts and deletes had been applied before this one: "Appended at N". */
  readonly index: number;
  /** The key's version from now on: the index of the log entry that put it; null: it was deleted. */
  readonly version: number | null;
  /** Whether the key had a value before; null: an unconditional put need not know, and never says, whatever it found in memory. */
  readonly existed: boolean | null;
}

/** The condition did not hold, so nothing changed and nothing was counted. */
export interface ConditionFailed {
  readonly type: "condition-failed";
  /** The version that the key has instead; null: it has no value. */
  readonly version: number | null;
}

export type KvResult = Applied | ConditionFailed;

/** Why a key cannot be stored, in words; null: it can. */
export function keyFault(key: Uint8Array): string | null {
  if (key.length === 0) return `the key is empty; a key has 1 to ${KEY_BYTES_MAX} bytes`;
  if (key.length <= KEY_BYTES_MAX) return null;
  return `the key has ${key.length} bytes; the limit is ${KEY_BYTES_MAX}`;
}

/** Why a value cannot be stored, in words; null: it can. */
export function valueFault(value: Uint8Array): string | null {
  if (value.length <= VALUE_BYTES_MAX) return null;
  return `the value has ${value.length} bytes; the limit is ${VALUE_BYTES_MAX}`;
}

// The form of a command, all numbers big-endian:
//   0  u8   FORMAT
//   1  u8   operation
//   2  u8   condition
//   3  u8   how many versions the condition names, n
//   4  u16  bytes of the key, k
//   6  n × u64  the versions
//      k bytes  the key
//      the rest  the value (of a put)
const FORMAT = 1;
const HEADER_BYTES = 6;
const VERSION_BYTES = 8;
const OPERATIONS = { put: 1, delete: 2 } as const;
const CONDITIONS = { none: 0, exists: 1, absent: 2, version: 3 } as const;

/** Between commands and results, and the compact binary form in which the log and the sessions keep them. */
export const commandCodec: Required<StateMachineCodec<KvCommand, KvResult>> = {
  encode: encodeCommand,
  decode: decodeCommand,
  encodeResult,
  decodeResult,
};

/** @throws RangeError for a key or value beyond the limits */
export function encodeCommand(command: KvCommand): Uint8Array {
  const { key, condition } = command;
  const value = command.type === "put" ? command.value : EMPTY;
  const versions = condition?.type === "version" ? condition.versions : [];
  const fault = keyFault(key) ?? valueFault(value) ?? versionsFault(versions);
  if (fault !== null) throw new RangeError(fault);
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

/** @throws DecodeError what is wrong: the bytes are damaged, or of a later version of this program */
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
  const fault = keyFault(key) ?? valueFault(value);
  if (fault !== null) throw new DecodeError(`a command that cannot be: ${fault}`);
  if (view[1] === OPERATIONS.put) return { type: "put", key, value, condition };
  if (view[1] !== OPERATIONS.delete) throw new DecodeError(`a command of unknown kind ${String(view[1])}`);
  if (value.length > 0) throw new DecodeError("a delete that carries a value");
  return { type: "delete", key, condition };
}

// The form of a result, all numbers big-endian; a version of 0 stands for none:
//   0  u8   FORMAT
//   1  u8   what came of it
//   2  u8   whether the key had a value before
//   3  u64  the version
//  11  u64  the index (of a command that took effect)
const OUTCOMES = { applied: 1, "condition-failed": 2 } as const;
const EXISTED = [null, false, true] as const;
const RESULT_BYTES = 19;

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

/** @throws DecodeError what is wrong: the bytes are damaged, or of a later version of this program */
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
  const kind = view[2];
  if (kind !== CONDITIONS.version && versionsLength > 0) {
    throw new DecodeError("a command names versions that its condition does not use");
  }
  switch (kind) {
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
      const fault = versionsFault(versions);
      if (fault !== null) throw new DecodeError(`a command that cannot be: ${fault}`);
      return { type: "version", versions };
    }
    default:
      throw new DecodeError(`a command with a condition of unknown kind ${String(kind)}`);
  }
}

function versionsFault(versions: readonly number[]): string | null {
  if (versions.length > CONDITION_VERSIONS_MAX) {
    return `the condition names ${versions.length} versions; the limit is ${CONDITION_VERSIONS_MAX}`;
  }
  const bad = versions.find((version) => !Number.isSafeInteger(version) || version < 1);
  return bad === undefined ? null : `${bad} is not a version: versions are whole numbers from 1`;
}
