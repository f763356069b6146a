import { crc32 } from "node:zlib";

import { DecodeError } from "keelson";
import {
  decodeMembership,
  decodeRecord,
  encodeControlMessage,
  encodeMembership,
  encodeMessage,
  encodeRecord,
  EntryKind,
  FrameReader,
  type ForwardedCall,
  type Frame,
  type MembershipChangeRequest,
  type RuntimeMessage,
  type MessageFrame,
} from "keelson/codec";

import type { Chance } from "../lib/chance.ts";
import { cutAnywhere, joined } from "./mutate.ts";
import { decoded, expectThat, shown, type Target } from "./target.ts";

type Message = Exclude<MessageFrame["message"], RuntimeMessage>;

const IDS = ["a", "b", "n1", "node-with-a-longer.name_1", "x".repeat(64)] as const;
/**
 * A reader allocates at most twice the bytes that it has received. For fewer bytes than this, that check is
 * left out: a header alone is enough.
 */
const READER_BYTES_MIN = 64 * 1024;
const FRAME_HEADER_BYTES = 24;

/** Frames between nodes: handshakes, messages and records, in one stream cut at any place. */
export const frames: Target = {
  name: "frames",
  share: 380,
  valid: (chance) => {
    const parts = Array.from({ length: chance.between(1, 4) }, () => validFrame(chance));
    return joined(...parts);
  },
  repair: repairFrames,
  run: (input, chance) => {
    const whole = readFrames([input]);
    const pieces = readFrames(cutAnywhere(input, chance));
    expectThat(
      shown(whole) === shown(pieces),
      `what is read depends on how the stream is cut: ${shown(whole)} and ${shown(pieces)}`,
    );
    for (const frame of whole.frames) {
      if (frame.type === "message") expectThat(isForwardable(frame.message), `it cannot be: ${shown(frame)}`);
      const again = readFrames([encodeFrame(frame)]);
      expectThat(
        again.error === null && shown(again.frames) === shown([frame]),
        `a frame that was taken cannot be sent on: ${shown(frame)} came back as ${shown(again)}`,
      );
    }
    return whole.error === null && whole.isComplete ? "taken" : "refused";
  },
};

/** The leader and the asking node act on these values without checking them again. */
function isForwardable(message: MessageFrame["message"]): boolean {
  if (message.type === "forward-reply") {
    const { answer } = message;
    return answer.type === "done" || ["done", "not-done", "unknown"].includes(answer.outcome);
  }
  if (message.type !== "forward-request" || message.call.type !== "session-write") return true;
  const { id, sequence, lowestUnanswered } = message.call.session;
  return id >= 1 && lowestUnanswered >= 1 && lowestUnanswered <= sequence;
}

interface ReadFrames {
  readonly frames: readonly Frame[];
  readonly error: string | null;
  readonly isComplete: boolean;
}

function readFrames(chunks: readonly Uint8Array[]): ReadFrames {
  const reader = new FrameReader();
  const found: Frame[] = [];
  let fed = 0;
  try {
    for (const chunk of chunks) {
      // A chunk's bytes may change after all its frames were taken. So feed a copy and overwrite it
      // afterwards: this shows whether the reader keeps a view of it.
      const copy = chunk.slice();
      reader.feed(copy);
      fed += chunk.length;
      for (let frame = reader.next(); frame !== null; frame = reader.next()) found.push(frame);
      copy.fill(0xee);
      expectThat(
        reader.reservedBytes <= Math.max(2 * fed, READER_BYTES_MIN),
        `${reader.reservedBytes} bytes are set aside after ${fed} have come`,
      );
    }
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    return { frames: found, error: error.message, isComplete: false };
  }
  return { frames: found, error: null, isComplete: reader.reservedBytes === 0 };
}

function encodeFrame(frame: Frame): Uint8Array {
  if (frame.type !== "message") return encodeControlMessage(frame);
  return joined(...encodeMessage(frame.message, frame.records, frame.group).chunks);
}

function repairFrames(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at + FRAME_HEADER_BYTES <= bytes.length;) {
    const length = view.getUint32(at + 8, true);
    const bodyEnd = at + FRAME_HEADER_BYTES + view.getUint32(at + 16, true);
    if (bodyEnd > bytes.length || length < FRAME_HEADER_BYTES) return;
    view.setUint32(at + 4, crc32(bytes.subarray(at + 8, bodyEnd)), true);
    at += length;
  }
}

function validFrame(chance: Chance): Uint8Array {
  const text = (max: number): string =>
    chance.pick(["", "c", "127.0.0.1:7001", "ünïcode ✓", "y".repeat(max)]);
  const identity = () => ({
    id: chance.pick(IDS),
    storeId: text(64),
    info: text(300),
    address: text(100),
    priority: chance.between(0, 9),
  });
  switch (chance.between(0, 10)) {
    case 7:
      return joined(...encodeMessage(validRuntimeMessage(chance), [], chance.between(0, 3)).chunks);
    case 0:
      return encodeControlMessage({
        ...{ type: "hello", versionMin: 1, versionMax: chance.between(1, 4), clusterId: text(50) },
        ...{ from: identity(), to: chance.pick(IDS) },
      });
    case 1:
      return encodeControlMessage({ type: "welcome", version: 1, clusterId: text(50), from: identity() });
    case 8:
      return encodeControlMessage({
        ...{ type: "inquiry", versionMin: 1, versionMax: chance.between(1, 4), clusterId: text(50) },
        ...{ from: identity(), to: chance.pick(IDS) },
      });
    case 9:
      return encodeControlMessage({ type: "consent" });
    case 2:
      return encodeControlMessage({ type: "goodbye", reason: text(400) });
    case 3:
      return encodeControlMessage({ type: chance.pick(["ping", "pong"] as const) });
    case 4:
      return validAppend(chance);
    default:
      return joined(...encodeMessage(validMessage(chance), [], chance.between(0, 3)).chunks);
  }
}

/** Messages between runtimes. */
function validRuntimeMessage(chance: Chance): RuntimeMessage {
  const number = (): number => chance.pick([0, 1, 300, 70_000, 2 ** 33, 2 ** 47]);
  const from = chance.pick(IDS);
  const id = chance.pick(["s", "0123456789abcdef", "ünïcode ✓", "y".repeat(64)]);
  switch (chance.between(0, 8)) {
    case 7:
      return {
        type: "forward-progress",
        from,
        incarnation: number(),
        ids: Array.from({ length: chance.pick([0, 1, 300]) }, number),
      };
    case 6:
      return {
        type: "entries-lost",
        from,
        term: number(),
        acknowledged: { term: number(), index: number() },
      };
    case 4:
      return validForwardRequest(chance);
    case 5:
      return validForwardReply(chance);
    case 2:
      return { type: "snapshot-end", from, id, intact: chance.often(0.5) };
    case 0:
      return { type: "snapshot-gone", from, id: chance.often(0.5) ? id : null };
    case 1: {
      const bytes = chance.pick([0, 1, 70_000]);
      const asked = chance.often(0.5) ? id : null;
      return { type: "snapshot-request", from, id: asked, index: number(), offset: number(), bytes };
    }
    default: {
      const payload = new Uint8Array(chance.between(0, 100)).fill(chance.between(0, 256));
      return {
        type: "snapshot-chunk",
        from,
        id,
        size: 2 ** 40,
        offset: chance.pick([0, 5, 2 ** 33]),
        payload,
      };
    }
  }
}

/** A forwarded call; if it has a command, the command follows. */
function validForwardRequest(chance: Chance): RuntimeMessage {
  const count = (): number => chance.pick([1, 2, 300, 70_000, 2 ** 33, 2 ** 47]);
  const sequence = count();
  const session = { id: count(), sequence, lowestUnanswered: chance.pick([1, sequence]) };
  const calls: readonly ForwardedCall[] = [
    { type: "write" },
    { type: "session-write", session },
    { type: "open-session", ttlMs: count() },
    { type: "close-session", id: count() },
    { type: "add-learner", id: chance.pick(IDS), address: "h:7001" },
    { type: "change-membership", change: validChange(chance) },
    { type: "transfer-leadership", to: chance.pick([null, ...IDS]) },
  ];
  const call = chance.pick(calls);
  const length = call.type === "write" || call.type === "session-write" ? chance.between(0, 100) : 0;
  const payload = new Uint8Array(length).fill(chance.between(0, 256));
  const numbers = { incarnation: count(), id: count(), term: count(), waitMs: chance.between(0, 60_000) };
  return { type: "forward-request", from: chance.pick(IDS), ...numbers, call, payload };
}

function validChange(chance: Chance): MembershipChangeRequest {
  const some = (): string[] => [...IDS].slice(0, chance.between(0, 4));
  const add = Object.fromEntries(some().map((id) => [id, "h:7001"]));
  const addresses = Object.fromEntries(some().map((id) => [id, "h:7002"]));
  return { add, remove: some(), promote: some(), demote: some(), addresses };
}

function validForwardReply(chance: Chance): RuntimeMessage {
  const count = (): number => chance.pick([1, 2, 300, 70_000, 2 ** 33, 2 ** 47]);
  const outcome = chance.pick(["done", "not-done", "unknown"] as const);
  const answer = chance.often(0.5)
    ? ({ type: "done", index: count() } as const)
    : ({ type: "error", code: chance.pick(["NOT_LEADER", "OVERLOADED"]), outcome } as const);
  const payload = new Uint8Array(chance.between(0, 100)).fill(chance.between(0, 256));
  return {
    type: "forward-reply",
    from: chance.pick(IDS),
    incarnation: count(),
    id: count(),
    answer,
    payload,
  };
}

function validMessage(chance: Chance): Message {
  const number = (): number => chance.pick([1, 2, 300, 70_000, 2 ** 33, 2 ** 47]);
  const header = { from: chance.pick(IDS), term: number() };
  // No log has entries of later terms than its node.
  const position = () => ({ term: Math.min(number(), header.term), index: number() });
  switch (chance.between(0, 9)) {
    case 0:
      return { type: "pre-vote", ...header, round: number(), last: position() };
    case 1:
      return { type: "pre-vote-reply", ...header, granted: chance.often(0.5), round: number() };
    case 2:
      return { type: "request-vote", ...header, last: position(), transfer: chance.often(0.5) };
    case 3:
      return { type: "request-vote-reply", ...header, granted: chance.often(0.5) };
    case 4:
      return {
        type: "append-entries-reply",
        ...header,
        round: number(),
        outcome: { accepted: true, match: number() },
      };
    case 5: {
      const outcome = { accepted: false, refused: number(), hint: position() } as const;
      return { type: "append-entries-reply", ...header, round: number(), outcome };
    }
    case 6: {
      const config = { voters: [...IDS].slice(0, chance.between(1, 5)), outgoingVoters: [], learners: [] };
      return { type: "install-snapshot", ...header, last: position(), config, round: number() };
    }
    case 7:
      return { type: "read-index", ...header, id: number() };
    default:
      return {
        type: "read-index-reply",
        ...header,
        id: number(),
        index: chance.often(0.5) ? number() : null,
      };
  }
}

/** AppendEntries with its entries' records, sometimes with a configuration among them. */
function validAppend(chance: Chance): Uint8Array {
  const prev = { term: chance.between(1, 9), index: chance.between(1, 1000) };
  const records: Uint8Array[] = [];
  const terms: { index: number; term: number }[] = [];
  const configs: {
    index: number;
    config: { voters: string[]; outgoingVoters: string[]; learners: string[] };
  }[] = [];
  let term = prev.term;
  for (let count = chance.between(0, 6); count > 0; count--) {
    const index = prev.index + records.length + 1;
    if (chance.often(0.3)) term += 1;
    if (terms.at(-1)?.term !== term) terms.push({ index, term });
    if (chance.often(0.2)) {
      const config = { voters: ["a", "b"], outgoingVoters: [], learners: [] };
      configs.push({ index, config });
      records.push(encodeRecord(index, term, EntryKind.config, validMembership(chance)));
    } else {
      records.push(
        encodeRecord(index, term, EntryKind.command, new Uint8Array(chance.between(0, 80)).fill(7)),
      );
    }
  }
  const entries = { prev, lastIndex: prev.index + records.length, terms, configs };
  const message: Message = { type: "append-entries", from: "a", term, entries, commit: prev.index, round: 3 };
  return joined(...encodeMessage(message, records).chunks);
}

/** One entry of the log. */
export const records: Target = {
  name: "records",
  share: 250,
  valid: (chance) => {
    const kind = chance.pick([EntryKind.command, EntryKind.blank, EntryKind.config]);
    const index = chance.pick([1, 2, 500, 2 ** 40, Number.MAX_SAFE_INTEGER]);
    return encodeRecord(
      index,
      chance.between(1, 1000),
      kind,
      new Uint8Array(chance.between(0, 200)).fill(chance.between(0, 256)),
    );
  },
  repair: (bytes) => {
    if (bytes.length < 8) return;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const length = view.getUint32(0, true);
    view.setUint32(4, crc32(bytes.subarray(8, length), length), true);
  },
  run: (input) =>
    decoded(() => {
      const { index, term, kind, length, payload } = decodeRecord(input);
      expectThat(
        Buffer.compare(encodeRecord(index, term, kind, payload), input.subarray(0, length)) === 0,
        "a record that was taken is written as other bytes",
      );
    }),
};

/** The payload of a configuration entry. */
export const membership: Target = {
  name: "config",
  share: 100,
  valid: validMembership,
  run: (input) =>
    decoded(() => {
      expectThat(
        Buffer.compare(encodeMembership(decodeMembership(input)), input) === 0,
        "a configuration that was taken is written as other bytes",
      );
    }),
};

function validMembership(chance: Chance): Uint8Array {
  const ids = IDS.slice(0, chance.between(1, IDS.length + 1));
  const learners = ids.length > 2 && chance.often(0.3) ? ids.slice(-1) : [];
  const voters = ids.filter((id) => !learners.includes(id));
  const outgoingVoters = chance.often(0.3) ? voters.slice(0, 1) : [];
  const storeId = chance.pick(["s", "e01805c144db998c65f01c00963da38e", "ünïcode ✓"]);
  const members = new Map(
    ids.map((id, at) => {
      const address = `10.0.0.${at}:7001`;
      return [id, chance.often(0.5) ? { address, storeId } : { address }];
    }),
  );
  const removed = ["gone", "gone-2", "z9"].slice(0, chance.between(0, 4));
  const membership = { config: { voters, outgoingVoters, learners }, members };
  return encodeMembership(removed.length === 0 ? membership : { ...membership, removed });
}
