/** Random messages and control messages, as frames may carry them, for property tests. */
import fc from "fast-check";
import type { ClusterConfig } from "../../core/config.ts";
import type { AppendEntries, ConfigAt, Message, TermRun } from "../../core/message.ts";
import type { LogPosition } from "../../core/position.ts";
import { encodeMembership } from "../config.ts";
import type { ControlMessage } from "../frame-control-message.ts";
import { RUNTIME_PAYLOAD_BYTES_MAX, type RuntimeMessage } from "../frame-runtime-message.ts";
import { encodeRecord, EntryKind } from "../record.ts";

export const idArb = fc.stringMatching(/^[A-Za-z0-9._-]{1,64}$/);
// Below the limits of terms, indexes and rounds, with room for the entries of a message.
const integerArb = fc.oneof(
  fc.maxSafeNat().map((number) => number % 2 ** 47),
  fc.nat(100),
  fc.constantFrom(0, 2 ** 32 - 1, 2 ** 32, 2 ** 47),
);
const positionArb = fc.record({ term: integerArb, index: integerArb });
const configArb: fc.Arbitrary<ClusterConfig> = fc
  .uniqueArray(idArb, { minLength: 1, maxLength: 6 })
  .chain((ids) =>
    fc.record({
      voters: fc.constant(ids.slice(0, Math.ceil(ids.length / 2)).sort()),
      outgoingVoters: fc.constantFrom([], ids.slice(0, 1)),
      learners: fc.constant(ids.slice(Math.ceil(ids.length / 2)).sort()),
    }),
  );
const headerArb = { from: idArb, term: integerArb };

export interface Case {
  readonly message: Message | RuntimeMessage;
  readonly records: readonly Uint8Array[];
}

/** For each entry after `prev`: its kind, its payload, and by how much the term rises before it. */
const entriesArb = fc.array(
  fc.record({
    rise: fc.constantFrom(0, 0, 0, 1, 5),
    payload: fc.uint8Array({ maxLength: 50 }),
    config: fc.option(configArb, { freq: 5 }),
  }),
  { maxLength: 12 },
);

const appendEntriesArb: fc.Arbitrary<Case> = fc
  .record({
    from: idArb,
    prev: fc.record({ term: fc.nat(2 ** 40), index: fc.nat(2 ** 40) }),
    commit: integerArb,
    round: integerArb,
    entries: entriesArb,
  })
  .map(({ from, prev: at, commit, round, entries }) => {
    const records: Uint8Array[] = [];
    const terms: TermRun[] = [];
    const configs: ConfigAt[] = [];
    const prev = positionUpTo(at, at.term);
    let term = Math.max(prev.term, 1);
    let index = prev.index;
    for (const { rise, payload, config } of entries) {
      index++;
      term += rise;
      if (terms.at(-1)?.term !== term) terms.push({ index, term });
      if (config === null) {
        records.push(encodeRecord(index, term, EntryKind.command, payload));
      } else {
        records.push(configRecord(index, term, config));
        configs.push({ index, config });
      }
    }
    const message: AppendEntries = {
      type: "append-entries",
      from,
      term,
      entries: { prev, lastIndex: index, terms, configs },
      commit,
      round,
    };
    return { message, records };
  });

export function configRecord(index: number, term: number, config: ClusterConfig): Uint8Array {
  const ids = new Set([...config.voters, ...config.outgoingVoters, ...config.learners]);
  const members = new Map([...ids].map((id) => [id, { address: `${id}:1` }]));
  return encodeRecord(index, term, EntryKind.config, encodeMembership({ config, members }));
}

/** This position, or the nearest one that a log can have which is sent in a message of this term. */
function positionUpTo({ term, index }: LogPosition, messageTerm: number): LogPosition {
  const isOrigin = index === 0 || term === 0 || messageTerm === 0;
  return isOrigin ? { term: 0, index: 0 } : { term: Math.min(term, messageTerm), index };
}

/** The message, with positions that its sender's log can have. */
function withPossiblePositions(message: Message): Message {
  switch (message.type) {
    case "pre-vote":
    case "request-vote":
      return { ...message, last: positionUpTo(message.last, message.term) };
    case "install-snapshot": {
      const { term, index } = message.last;
      return { ...message, term: term + 1, last: { term: term + 1, index: Math.max(index, 1) } };
    }
    case "append-entries-reply": {
      const { outcome, term } = message;
      if (outcome.accepted) return message;
      return { ...message, outcome: { ...outcome, hint: positionUpTo(outcome.hint, term) } };
    }
    default:
      return message;
  }
}

const anyMessageArb: fc.Arbitrary<Message> = fc.oneof(
  fc.record({ type: fc.constant("pre-vote" as const), ...headerArb, round: integerArb, last: positionArb }),
  fc.record({
    type: fc.constant("pre-vote-reply" as const),
    ...headerArb,
    granted: fc.boolean(),
    round: integerArb,
  }),
  fc.record({
    type: fc.constant("request-vote" as const),
    ...headerArb,
    last: positionArb,
    transfer: fc.boolean(),
  }),
  fc.record({ type: fc.constant("request-vote-reply" as const), ...headerArb, granted: fc.boolean() }),
  fc.record({
    type: fc.constant("append-entries-reply" as const),
    ...headerArb,
    round: integerArb,
    outcome: fc.oneof(
      fc.record({ accepted: fc.constant(true as const), match: integerArb }),
      fc.record({ accepted: fc.constant(false as const), refused: integerArb, hint: positionArb }),
    ),
  }),
  fc.record({
    type: fc.constant("install-snapshot" as const),
    ...headerArb,
    last: positionArb,
    config: configArb,
    round: integerArb,
  }),
  fc.record({ type: fc.constant("read-index" as const), ...headerArb, id: integerArb }),
  fc.record({
    type: fc.constant("read-index-reply" as const),
    ...headerArb,
    id: integerArb,
    index: fc.option(integerArb),
  }),
);
const plainMessageArb = anyMessageArb.map(withPossiblePositions);
const snapshotIdArb = fc.string({ unit: "grapheme", maxLength: 10 });
const serviceArb: fc.Arbitrary<RuntimeMessage> = fc.oneof(
  fc.record({
    type: fc.constant("snapshot-request" as const),
    from: idArb,
    id: fc.option(snapshotIdArb),
    index: integerArb,
    offset: integerArb,
    bytes: fc.nat(RUNTIME_PAYLOAD_BYTES_MAX),
  }),
  fc
    .record({ from: idArb, id: snapshotIdArb, offset: fc.nat(2 ** 40), more: fc.nat(2 ** 40) })
    .chain(({ more, ...rest }) =>
      fc.uint8Array({ maxLength: 200 }).map((payload) => ({
        ...{ type: "snapshot-chunk" as const, ...rest, payload },
        size: rest.offset + payload.length + more,
      })),
    ),
  fc.record({ type: fc.constant("snapshot-gone" as const), from: idArb, id: fc.option(snapshotIdArb) }),
  fc.record({
    type: fc.constant("snapshot-end" as const),
    from: idArb,
    id: snapshotIdArb,
    intact: fc.boolean(),
  }),
);
const forwardArb: fc.Arbitrary<RuntimeMessage> = fc.oneof(
  fc.record({
    type: fc.constant("forward-request" as const),
    ...{ from: idArb, incarnation: integerArb, id: integerArb, term: integerArb },
    waitMs: fc.nat(2 ** 31 - 1),
    call: fc.oneof(
      fc.constant({ type: "write" as const }),
      fc.tuple(fc.nat(2 ** 30), fc.nat(2 ** 30), fc.nat(2 ** 30)).map(([id, lowest, above]) => ({
        type: "session-write" as const,
        session: { id: id + 1, lowestUnanswered: lowest + 1, sequence: lowest + 1 + above },
      })),
    ),
    payload: fc.uint8Array({ maxLength: 100 }),
  }),
  fc.record({
    type: fc.constant("forward-request" as const),
    ...{ from: idArb, incarnation: integerArb, id: integerArb, term: integerArb },
    waitMs: fc.nat(2 ** 31 - 1),
    call: fc.oneof(
      fc.record({ type: fc.constant("open-session" as const), ttlMs: integerArb }),
      fc.record({ type: fc.constant("close-session" as const), id: integerArb }),
    ),
    payload: fc.constant(new Uint8Array(0)),
  }),
  fc.record({
    type: fc.constant("forward-reply" as const),
    ...{ from: idArb, incarnation: integerArb, id: integerArb },
    answer: fc.oneof(
      fc.record({ type: fc.constant("done" as const), index: integerArb }),
      fc.record({
        type: fc.constant("error" as const),
        code: snapshotIdArb,
        outcome: fc.constantFrom("done" as const, "not-done" as const, "unknown" as const),
      }),
    ),
    payload: fc.uint8Array({ maxLength: 100 }),
  }),
);
const entriesLostArb = fc.record({
  type: fc.constant("entries-lost" as const),
  ...{ from: idArb, term: integerArb },
  acknowledged: fc.record({ term: integerArb, index: integerArb }),
});
export const caseArb: fc.Arbitrary<Case> = fc.oneof(
  entriesLostArb.map((message) => ({ message, records: [] })),
  serviceArb.map((message) => ({ message, records: [] })),
  forwardArb.map((message) => ({ message, records: [] })),
  plainMessageArb.map((message) => ({ message, records: [] })),
  appendEntriesArb,
);

const textArb = (maxLength: number): fc.Arbitrary<string> => fc.string({ unit: "grapheme", maxLength });
const identityArb = fc.record({
  id: idArb,
  storeId: textArb(20),
  info: textArb(60),
  address: textArb(30),
  priority: fc.nat(),
});
export const controlArb: fc.Arbitrary<ControlMessage> = fc.oneof(
  fc.record({
    type: fc.constant("hello" as const),
    versionMin: fc.nat(0xffff),
    versionMax: fc.nat(0xffff),
    clusterId: textArb(20),
    from: identityArb,
    to: idArb,
  }),
  fc.record({
    type: fc.constant("welcome" as const),
    version: fc.nat(0xffff),
    clusterId: textArb(20),
    from: identityArb,
  }),
  fc.record({ type: fc.constant("goodbye" as const), reason: textArb(50) }),
  fc.constant({ type: "ping" as const }),
  fc.constant({ type: "pong" as const }),
  fc.record({
    type: fc.constant("inquiry" as const),
    versionMin: fc.nat(0xffff),
    versionMax: fc.nat(0xffff),
    clusterId: textArb(20),
    from: identityArb,
    to: idArb,
  }),
  fc.constant({ type: "consent" as const }),
);
