import type { Chance } from "../lib/chance.ts";

/** Mutations of one input, one after another. */
const MUTATIONS_MAX = 6;
/** Numbers at which code for lengths, counts and signs often fails. */
const BOUNDARIES = [
  0, 1, 2, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
];
const RANDOM_BYTES_MAX = 300;
/** The most bytes of a mutated input. Repeating parts may double an input several times. */
const INPUT_BYTES_MAX = 64 * 1024;

/** Random bytes, as an unrelated program may send them. */
export function randomBytes(chance: Chance): Uint8Array {
  const bytes = new Uint8Array(chance.between(0, RANDOM_BYTES_MAX));
  for (let at = 0; at < bytes.length; at++) bytes[at] = chance.between(0, 256);
  return bytes;
}

/** A few changes, as damage, mistakes or attackers may cause. `other` provides parts of another input. */
export function mutate(bytes: Uint8Array, other: Uint8Array, chance: Chance): Uint8Array {
  let mutated = bytes.slice();
  for (let left = chance.between(1, MUTATIONS_MAX + 1); left > 0; left--) {
    mutated = chance.pick(MUTATIONS)(mutated, other, chance).slice(0, INPUT_BYTES_MAX);
  }
  return mutated;
}

export function cutAnywhere(bytes: Uint8Array, chance: Chance): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = Math.min(bytes.length, at + chance.pick([1, 2, 7, 23, 24, 25, 60, 500]));
    chunks.push(bytes.subarray(at, end));
    at = end;
  }
  return chunks;
}

type Mutation = (bytes: Uint8Array, other: Uint8Array, chance: Chance) => Uint8Array;

const MUTATIONS: readonly Mutation[] = [
  flipBit,
  flipBit,
  setByte,
  setNumber,
  setNumber,
  cut,
  remove,
  repeat,
  splice,
  swap,
  insert,
];

function flipBit(bytes: Uint8Array, _other: Uint8Array, chance: Chance): Uint8Array {
  const at = chance.between(0, bytes.length);
  if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << chance.between(0, 8));
  return bytes;
}

function setByte(bytes: Uint8Array, _other: Uint8Array, chance: Chance): Uint8Array {
  if (bytes.length > 0) bytes[chance.between(0, bytes.length)] = chance.between(0, 256);
  return bytes;
}

/** Overwrites a number with one at which code often fails. */
function setNumber(bytes: Uint8Array, _other: Uint8Array, chance: Chance): Uint8Array {
  const width = chance.pick([1, 2, 4]);
  if (bytes.length < width) return bytes;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const at = chance.between(0, bytes.length - width + 1);
  const number = chance.pick(BOUNDARIES);
  if (width === 1) view.setUint8(at, number % 0x100);
  else if (width === 2) view.setUint16(at, number % 0x10000, chance.often(0.7));
  else view.setUint32(at, number, chance.often(0.7));
  return bytes;
}

function cut(bytes: Uint8Array, _other: Uint8Array, chance: Chance): Uint8Array {
  return bytes.slice(0, chance.between(0, bytes.length + 1));
}

function remove(bytes: Uint8Array, _other: Uint8Array, chance: Chance): Uint8Array {
  const [from, to] = range(bytes, chance);
  return joined(bytes.subarray(0, from), bytes.subarray(to));
}

function repeat(bytes: Uint8Array, _other: Uint8Array, chance: Chance): Uint8Array {
  const [from, to] = range(bytes, chance);
  return joined(bytes.subarray(0, to), bytes.subarray(from));
}

/** The beginning of one and the end of another. */
function splice(bytes: Uint8Array, other: Uint8Array, chance: Chance): Uint8Array {
  return joined(
    bytes.subarray(0, chance.between(0, bytes.length + 1)),
    other.subarray(chance.between(0, other.length + 1)),
  );
}

function swap(bytes: Uint8Array, _other: Uint8Array, chance: Chance): Uint8Array {
  const [from, to] = range(bytes, chance);
  const length = to - from;
  const target = chance.between(0, bytes.length - length + 1);
  const part = bytes.slice(from, to);
  bytes.copyWithin(from, target, target + length);
  bytes.set(part, target);
  return bytes;
}

function insert(bytes: Uint8Array, _other: Uint8Array, chance: Chance): Uint8Array {
  const at = chance.between(0, bytes.length + 1);
  const fill = new Uint8Array(chance.between(1, 40)).fill(
    chance.pick([0, 0x20, 0x41, 0xff, chance.between(0, 256)]),
  );
  return joined(bytes.subarray(0, at), fill, bytes.subarray(at));
}

function range(bytes: Uint8Array, chance: Chance): [from: number, to: number] {
  const from = chance.between(0, bytes.length + 1);
  return [from, Math.min(bytes.length, from + chance.between(0, 64))];
}

/** These, one after another. */
export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
