// One message of each kind, with numbers at their limits.
import { encodeMembership } from "../../../codec/config.ts";
import { RUNTIME_PAYLOAD_BYTES_MAX, type RuntimeMessage } from "../../../codec/frame-runtime-message.ts";
import { encodeRecord, EntryKind } from "../../../codec/record.ts";
import type { Message } from "../../../core/message.ts";
import { INDEX_MAX, ROUND_MAX, TERM_MAX, type NodeId } from "../../../core/position.ts";
import type { TransportMessage } from "../../../transport/transport.ts";

/** One message of each kind, with the records it carries. */
export function messagesOfEachKind(from: NodeId): TransportMessage[] {
  const alone = [...coreMessages(from), ...snapshotMessages(from), ...forwardedMessages(from)];
  return [...alone.map((message) => ({ message, records: [] })), appendEntriesWithRecords(from)];
}

const LARGE = Number.MAX_SAFE_INTEGER;
const CONFIG = { voters: ["a", "b"], outgoingVoters: ["c"], learners: ["d"] };

/** The messages between cores, except for AppendEntries with records. */
function coreMessages(from: NodeId): Message[] {
  const term = TERM_MAX;
  const index = INDEX_MAX;
  const round = ROUND_MAX;
  const last = { term: term - 1, index };
  const empty = { prev: last, lastIndex: last.index, terms: [], configs: [] };
  return [
    { type: "pre-vote", from, term, round: term, last },
    { type: "pre-vote-reply", from, term: 1, granted: true, round: term },
    { type: "request-vote", from, term: 1, last, transfer: true },
    { type: "request-vote-reply", from, term: 1, granted: true },
    { type: "append-entries", from, term, entries: empty, commit: index, round },
    { type: "append-entries-reply", from, term: 1, round, outcome: { accepted: true, match: index } },
    {
      type: "append-entries-reply",
      from,
      term: 1,
      round: 0,
      outcome: { accepted: false, refused: index, hint: last },
    },
    { type: "install-snapshot", from, term: 1, last, config: CONFIG, round: 0 },
    { type: "read-index", from, term: 1, id: round },
    { type: "read-index-reply", from, term: 1, id: 0, index: null },
    { type: "read-index-reply", from, term: 1, id: 0, index },
  ];
}

/** The runtime messages of a snapshot transfer. */
function snapshotMessages(from: NodeId): RuntimeMessage[] {
  return [
    {
      type: "snapshot-request",
      from,
      id: null,
      index: INDEX_MAX,
      offset: 0,
      bytes: RUNTIME_PAYLOAD_BYTES_MAX,
    },
    { type: "snapshot-request", from, id: "s", index: 0, offset: LARGE, bytes: 0 },
    { type: "snapshot-chunk", from, id: "s", size: LARGE, offset: 7, payload: Uint8Array.of(0, 255, 1) },
    { type: "snapshot-chunk", from, id: "s", size: 0, offset: 0, payload: new Uint8Array(0) },
    { type: "snapshot-gone", from, id: "s" },
    { type: "snapshot-gone", from, id: null },
    { type: "snapshot-end", from, id: "s", intact: false },
  ];
}

/** AppendEntries with three entries: one of a new leader, one with a configuration, one with a command. */
function appendEntriesWithRecords(from: NodeId): TransportMessage {
  const members = new Map(["a", "b", "c", "d"].map((id) => [id, { address: `${id}:1` }]));
  const records = [
    encodeRecord(6, 2, EntryKind.blank, new Uint8Array(0)),
    encodeRecord(7, 3, EntryKind.config, encodeMembership({ config: CONFIG, members })),
    encodeRecord(8, 3, EntryKind.command, Uint8Array.of(0, 255, 1)),
  ];
  const terms = [
    { index: 6, term: 2 },
    { index: 7, term: 3 },
  ];
  const entries = {
    prev: { term: 2, index: 5 },
    lastIndex: 8,
    terms,
    configs: [{ index: 7, config: CONFIG }],
  };
  return { message: { type: "append-entries", from, term: 4, entries, commit: 5, round: 6 }, records };
}

/** The runtime messages of forwarded calls, and of a node that lost entries. */
function forwardedMessages(from: NodeId): RuntimeMessage[] {
  const request = {
    type: "forward-request",
    from,
    incarnation: LARGE,
    id: 1,
    term: TERM_MAX,
    waitMs: 7,
  } as const;
  const reply = { type: "forward-reply", from, incarnation: LARGE, id: 1 } as const;
  const payload = Uint8Array.of(0, 255, 1);
  const session = { id: LARGE, sequence: 9, lowestUnanswered: 8 };
  const nothing = new Uint8Array(0);
  return [
    { type: "entries-lost", from, term: 7, acknowledged: { term: 3, index: 9 } },
    { ...request, call: { type: "write" }, payload },
    { ...request, call: { type: "session-write", session }, payload },
    { ...request, call: { type: "open-session", ttlMs: 1 }, payload: nothing },
    { ...request, call: { type: "close-session", id: 1 }, payload: nothing },
    { ...reply, answer: { type: "done", index: INDEX_MAX }, payload },
    ...(["done", "not-done", "unknown"] as const).map((outcome) => ({
      ...{ ...reply, answer: { type: "error" as const, code: "CODE", outcome }, payload },
    })),
  ];
}
