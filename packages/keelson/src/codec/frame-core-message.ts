/*
 * Messages between the cores of two nodes, as bodies of frames. `Message` (core/message.ts) explains them.
 *
 * Each body begins with: from id, term integer. Then:
 *
 * | type | message | rest of the body |
 * |---|---|---|
 * | 1 | pre-vote | last position, round integer |
 * | 2 | pre-vote-reply | granted boolean, round integer |
 * | 3 | request-vote | last position, transfer boolean |
 * | 4 | request-vote-reply | granted boolean |
 * | 5 | append-entries | prev position, commit integer, round integer, the number of records u32 |
 * | 6 | append-entries-reply | round integer, accepted boolean; then |
 * | | accepted | match integer |
 * | | not accepted | refused integer, hint position |
 * | 7 | install-snapshot | last position, round integer, config |
 * | 8 | read-index | id integer |
 * | 9 | read-index-reply | id integer, hasIndex boolean, index integer if true |
 * | 10 | timeout-now | |
 *
 * A position is: term integer, index integer. A config is three lists: voters, outgoing voters, learners. A
 * list is: the number of ids u16, then each id. byte-writer.ts has the encodings of the fields.
 *
 * Only append-entries has a tail: one record for each entry of its range, in order. Terms, indexes and
 * configurations of the range are not in the body, because they are in the records.
 *
 * **Checks.** In addition to the fields: the records are as many as announced, undamaged, and fill the tail;
 * their indexes follow each other from prev; their terms never fall, and are at most the sender's (§5.3);
 * configurations can be decoded. Of a position, index and term are both 0 or both not, and its term is at
 * most the sender's. A snapshot covers at least one entry; its configuration has voters, and names nobody
 * twice in one list or as voter and learner. The core relies on these facts and stops its node if they don't
 * hold, so a message that violates them must not reach it.
 */
import { assert } from "../core/assert.ts";
import type { ClusterConfig } from "../core/config.ts";
import type {
  AppendEntries,
  AppendEntriesReply,
  ConfigAt,
  EntryRange,
  Message,
  MessageType,
  TermRun,
} from "../core/message.ts";
import type { LogPosition, NodeId, Term } from "../core/position.ts";
import { DecodeError } from "../errors.ts";
import { decodeMembership, MEMBERS_MAX } from "./config.ts";
import type { ByteReader } from "./byte-reader.ts";
import type { ByteWriter } from "./byte-writer.ts";
import {
  EntryKind,
  RECORD_HEADER_BYTES,
  readRecordHeader,
  recordIndex,
  recordIsIntact,
  recordPayload,
} from "./record.ts";

/** The types of core messages on the wire. They never change their meaning; new messages get new numbers. */
export const CoreMessageType: Readonly<Record<MessageType, number>> = {
  "pre-vote": 1,
  "pre-vote-reply": 2,
  "request-vote": 3,
  "request-vote-reply": 4,
  "append-entries": 5,
  "append-entries-reply": 6,
  "install-snapshot": 7,
  "read-index": 8,
  "read-index-reply": 9,
  "timeout-now": 10,
};

/**
 * Writes the body, and returns the frame's type. `records` are those of an AppendEntries' range; they are not
 * written, but follow the body as the frame's tail.
 */
export function writeCoreMessage(
  writer: ByteWriter,
  message: Message,
  records: readonly Uint8Array[],
): number {
  assert(message.type === "append-entries" || records.length === 0, "only AppendEntries carries records");
  writer.id(message.from);
  writer.integer(message.term);
  switch (message.type) {
    case "pre-vote":
      writePosition(writer, message.last);
      writer.integer(message.round);
      break;
    case "pre-vote-reply":
      writer.boolean(message.granted);
      writer.integer(message.round);
      break;
    case "request-vote":
      writePosition(writer, message.last);
      writer.boolean(message.transfer);
      break;
    case "request-vote-reply":
      writer.boolean(message.granted);
      break;
    case "append-entries":
      writeAppendEntries(writer, message, records);
      break;
    case "append-entries-reply":
      writeAppendEntriesReply(writer, message);
      break;
    case "install-snapshot":
      writePosition(writer, message.last);
      writer.integer(message.round);
      writeConfig(writer, message.config);
      break;
    case "read-index":
      writer.integer(message.id);
      break;
    case "read-index-reply":
      writer.integer(message.id);
      writer.boolean(message.index !== null);
      if (message.index !== null) writer.integer(message.index);
      break;
    case "timeout-now":
      break;
  }
  return CoreMessageType[message.type];
}

/** The sum of the records' lengths, in bytes. */
export function recordBytesOf(records: readonly Uint8Array[]): number {
  let bytes = 0;
  for (const record of records) bytes += record.length;
  return bytes;
}

/** Reads the body of a frame of this type, and its tail, which is in [recordsAt, end) of the same bytes. */
export function readCoreMessage(
  type: number,
  body: ByteReader,
  recordsAt: number,
  end: number,
): { message: Message; records: Uint8Array[] } {
  const from = body.id();
  const term = body.term();
  if (type === CoreMessageType["append-entries"]) return readAppendEntries(body, from, term, recordsAt, end);
  const message = readMessageWithoutRecords(type, body, from, term);
  body.end();
  if (recordsAt !== end) throw new DecodeError("records follow a message that has none");
  return { message, records: [] };
}

function readMessageWithoutRecords(type: number, body: ByteReader, from: NodeId, term: Term): Message {
  switch (type) {
    case CoreMessageType["pre-vote"]:
      return { type: "pre-vote", from, term, last: readPosition(body, term), round: body.round() };
    case CoreMessageType["pre-vote-reply"]:
      return { type: "pre-vote-reply", from, term, granted: body.boolean(), round: body.round() };
    case CoreMessageType["request-vote"]:
      return { type: "request-vote", from, term, last: readPosition(body, term), transfer: body.boolean() };
    case CoreMessageType["request-vote-reply"]:
      return { type: "request-vote-reply", from, term, granted: body.boolean() };
    case CoreMessageType["append-entries-reply"]:
      return readAppendEntriesReply(body, from, term);
    case CoreMessageType["install-snapshot"]: {
      const last = readPosition(body, term);
      if (last.index === 0) throw new DecodeError("a snapshot that covers no entry");
      const round = body.round();
      return { type: "install-snapshot", from, term, last, round, config: readConfig(body) };
    }
    case CoreMessageType["read-index"]:
      return { type: "read-index", from, term, id: body.round() };
    case CoreMessageType["read-index-reply"]: {
      const id = body.round();
      return { type: "read-index-reply", from, term, id, index: body.boolean() ? body.index() : null };
    }
    case CoreMessageType["timeout-now"]:
      return { type: "timeout-now", from, term };
    default:
      throw new DecodeError(`a frame has the unknown type ${String(type)}`);
  }
}

function writeAppendEntries(
  writer: ByteWriter,
  message: AppendEntries,
  records: readonly Uint8Array[],
): void {
  const { prev, lastIndex } = message.entries;
  assert(
    records.length === lastIndex - prev.index,
    "AppendEntries carries one record for each entry of its range",
  );
  for (let n = 0; n < records.length; n++) {
    const record = records[n];
    assert(
      record !== undefined && recordIndex(record) === prev.index + 1 + n,
      "the records of AppendEntries are those of its range, in order",
    );
  }
  writePosition(writer, prev);
  writer.integer(message.commit);
  writer.integer(message.round);
  writer.u32(records.length);
}

function readAppendEntries(
  body: ByteReader,
  from: NodeId,
  term: Term,
  recordsAt: number,
  end: number,
): { message: AppendEntries; records: Uint8Array[] } {
  const prev = readPosition(body, term);
  const commit = body.index();
  const round = body.round();
  const count = body.u32();
  body.end();
  if (count * RECORD_HEADER_BYTES > end - recordsAt) {
    throw new DecodeError(`${String(count)} records do not fit into ${String(end - recordsAt)} bytes`);
  }
  const { entries, records } = readRecords(body.bytes.subarray(recordsAt, end), prev, count, term);
  return { message: { type: "append-entries", from, term, entries, commit, round }, records };
}

/** Splits the tail into records, checks each, and rebuilds the range of entries from them. */
function readRecords(
  bytes: Uint8Array,
  prev: LogPosition,
  count: number,
  messageTerm: Term,
): { entries: EntryRange; records: Uint8Array[] } {
  const records: Uint8Array[] = [];
  const terms: TermRun[] = [];
  const configs: ConfigAt[] = [];
  let at = 0;
  let lastTerm = prev.term;
  for (let index = prev.index + 1; index <= prev.index + count; index++) {
    const header = readRecordHeader(bytes, at);
    if (header.index !== index) {
      throw new DecodeError(
        `the record of entry ${String(header.index)} is where that of ${String(index)} belongs`,
      );
    }
    // Damage that is found here costs the connection. Found later, in the log, it would stop the node.
    if (!recordIsIntact(bytes, at)) {
      throw new DecodeError(`the checksum of the record of entry ${String(index)} does not match its bytes`);
    }
    const record = bytes.subarray(at, at + header.length);
    if (header.term !== lastTerm || terms.length === 0) {
      // §5.3: terms never fall along a log, and no entry has a later term than the node that sends it.
      if (header.term < lastTerm || header.term > messageTerm) {
        throw new DecodeError(
          `entry ${String(index)} of term ${String(header.term)} follows term ${String(lastTerm)} in a message of term ${String(messageTerm)}`,
        );
      }
      lastTerm = header.term;
      terms.push({ index, term: header.term });
    }
    if (header.kind === EntryKind.config) {
      configs.push({ index, config: decodeMembership(recordPayload(record)).config });
    }
    records.push(record);
    at += header.length;
  }
  if (at !== bytes.length)
    throw new DecodeError(`${String(bytes.length - at)} bytes too many after the records`);
  return { entries: { prev, lastIndex: prev.index + count, terms, configs }, records };
}

function writeAppendEntriesReply(writer: ByteWriter, message: AppendEntriesReply): void {
  const { outcome } = message;
  writer.integer(message.round);
  writer.boolean(outcome.accepted);
  if (outcome.accepted) {
    writer.integer(outcome.match);
  } else {
    writer.integer(outcome.refused);
    writePosition(writer, outcome.hint);
  }
}

function readAppendEntriesReply(body: ByteReader, from: NodeId, term: Term): AppendEntriesReply {
  const round = body.round();
  const outcome: AppendEntriesReply["outcome"] = body.boolean()
    ? { accepted: true, match: body.index() }
    : { accepted: false, refused: body.index(), hint: readPosition(body, term) };
  return { type: "append-entries-reply", from, term, round, outcome };
}

function writePosition(writer: ByteWriter, position: LogPosition): void {
  writer.integer(position.term);
  writer.integer(position.index);
}

/** Reads a position in the log of a node that was in `messageTerm` when it sent it. */
function readPosition(body: ByteReader, messageTerm: Term): LogPosition {
  const position = { term: body.term(), index: body.index() };
  if ((position.term === 0) !== (position.index === 0) || position.term > messageTerm) {
    throw new DecodeError(
      `no log has index ${String(position.index)} with term ${String(position.term)} in a message of term ${String(messageTerm)}`,
    );
  }
  return position;
}

function writeConfig(writer: ByteWriter, config: ClusterConfig): void {
  writeIds(writer, config.voters);
  writeIds(writer, config.outgoingVoters);
  writeIds(writer, config.learners);
}

function readConfig(body: ByteReader): ClusterConfig {
  const config = { voters: readIds(body), outgoingVoters: readIds(body), learners: readIds(body) };
  const { voters, outgoingVoters, learners } = config;
  if (voters.length === 0) throw new DecodeError("a configuration without voters");
  for (const list of [voters, outgoingVoters, learners]) {
    if (new Set(list).size !== list.length) throw new DecodeError("a configuration names a member twice");
  }
  const both = learners.find((id) => voters.includes(id));
  if (both !== undefined) throw new DecodeError(`a configuration in which ${both} is both voter and learner`);
  return config;
}

function writeIds(writer: ByteWriter, ids: readonly NodeId[]): void {
  assert(ids.length <= MEMBERS_MAX, "a configuration has at most MEMBERS_MAX members");
  writer.u16(ids.length);
  for (const id of ids) writer.id(id);
}

function readIds(body: ByteReader): NodeId[] {
  const count = body.u16();
  if (count > MEMBERS_MAX) throw new DecodeError(`a configuration names ${String(count)} members at once`);
  const ids: NodeId[] = [];
  for (let n = 0; n < count; n++) ids.push(body.id());
  return ids;
}
