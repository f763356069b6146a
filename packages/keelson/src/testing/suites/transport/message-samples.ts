// One message of each kind, with numbers at their limits.
import { encodeMembership } from "../../../codec/config.ts";
import { RUNTIME_PAYLOAD_BYTES_MAX, type RuntimeMessage } from "../../../codec/frame-runtime-message.ts";
import { encodeRecord, EntryKind } from "../../../codec/record.ts";
import type { Message } from "../../../core/message.ts";
import { INDEX_MAX, ROUND_MAX, TERM_MAX, type NodeId } from "../../../core/position.ts";
import type { TransportMessage } from "../../../transport/transport.ts";

/** One message of each kind, with the records it carries. */
export function messagesOfEachKind(from: NodeId): TransportMessage[] {
  const alone = [...coreMessages(from), ...runtimeMessages(from)];
  return [...alone.map((message) => ({ message, records: [] })), appendEntriesWithRecords(from)];
}

const LARGE = Number.MAX_SAFE_INTEGER;
const CONFIG = { voters: ["a", "b"], outgoingVoters: ["c"], learners: ["d"] };

/** Sample messages by their type, without `type` and `from`. A new type without a sample doesn't compile. */
type Samples<M extends { readonly type: string }> = {
  readonly [Type in M["type"]]: readonly Omit<Extract<M, { readonly type: Type }>, "type" | "from">[];
};

function messagesOf<M extends Message | RuntimeMessage>(samples: Samples<M>, from: NodeId): M[] {
  return Object.entries<readonly object[]>(samples).flatMap(([type, bodies]) =>
    bodies.map((body) => ({ type, from, ...body }) as M),
  );
}

/** The messages between cores, except for AppendEntries with records. */
function coreMessages(from: NodeId): Message[] {
  const term = TERM_MAX;
  const index = INDEX_MAX;
  const round = ROUND_MAX;
  const last = { term: term - 1, index };
  const empty = { prev: last, lastIndex: last.index, terms: [], configs: [] };
  const refused = { accepted: false, refused: index, hint: last } as const;
  const samples: Samples<Message> = {
    "pre-vote": [{ term, round: term, last }],
    "pre-vote-reply": [{ term: 1, granted: true, round: term }],
    "request-vote": [{ term, last, transfer: true }],
    "request-vote-reply": [{ term: 1, granted: true }],
    "append-entries": [{ term, entries: empty, commit: index, round }],
    "append-entries-reply": [
      { term: 1, round, outcome: { accepted: true, match: index } },
      { term, round: 0, outcome: refused },
    ],
    "install-snapshot": [{ term, last, config: CONFIG, round: 0 }],
    "read-index": [{ term: 1, id: round }],
    "read-index-reply": [
      { term: 1, id: 0, index: null },
      { term: 1, id: 0, index },
    ],
    "timeout-now": [{ term }],
  };
  return messagesOf(samples, from);
}

/** The messages between runtimes: snapshot transfers, forwarded calls, and lost entries. */
function runtimeMessages(from: NodeId): RuntimeMessage[] {
  const payload = Uint8Array.of(0, 255, 1);
  const nothing = new Uint8Array(0);
  const session = { id: LARGE, sequence: 9, lowestUnanswered: 8 };
  const request = { incarnation: LARGE, id: 1, term: TERM_MAX, waitMs: 7 };
  const reply = { incarnation: LARGE, id: 1 };
  const named = { remove: ["b", "c"], promote: [], demote: ["e"] };
  const change = { add: { d: "d:1", e: "e:1" }, ...named, addresses: { a: "a:2" } };
  const samples: Samples<RuntimeMessage> = {
    "snapshot-request": [
      { id: null, index: INDEX_MAX, offset: 0, bytes: RUNTIME_PAYLOAD_BYTES_MAX },
      { id: "s", index: 0, offset: LARGE, bytes: 0 },
    ],
    "snapshot-chunk": [
      { id: "s", size: LARGE, offset: 7, payload },
      { id: "s", size: 0, offset: 0, payload: nothing },
    ],
    "snapshot-gone": [{ id: "s" }, { id: null }],
    "snapshot-end": [{ id: "s", intact: false }],
    "entries-lost": [{ term: 7, acknowledged: { term: 3, index: 9 } }],
    "forward-request": [
      { ...request, call: { type: "write" }, payload },
      { ...request, call: { type: "session-write", session }, payload },
      { ...request, call: { type: "open-session", ttlMs: 1 }, payload: nothing },
      { ...request, call: { type: "close-session", id: 1 }, payload: nothing },
      { ...request, call: { type: "add-learner", id: "d", address: "d:1" }, payload: nothing },
      { ...request, call: { type: "change-membership", change }, payload: nothing },
      { ...request, call: { type: "transfer-leadership", to: "b" }, payload: nothing },
      { ...request, call: { type: "transfer-leadership", to: null }, payload: nothing },
    ],
    "forward-progress": [
      { incarnation: LARGE, ids: [] },
      { incarnation: 0, ids: [1, LARGE] },
    ],
    "forward-reply": [
      { ...reply, answer: { type: "done", index: INDEX_MAX }, payload },
      ...(["done", "not-done", "unknown"] as const).map((outcome) => ({
        ...{ ...reply, answer: { type: "error" as const, code: "CODE", outcome }, payload },
      })),
    ],
  };
  return messagesOf(samples, from);
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
