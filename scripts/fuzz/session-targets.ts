import {
  decodeCloseSession,
  decodeOpenSession,
  decodeSessionCommand,
  decodeSessionTime,
  encodeCloseSession,
  encodeOpenSession,
  encodeSessionCommand,
  encodeSessionTime,
} from "keelson/codec";

import {
  answerName,
  countSessions,
  decodeAnswer,
  decodeRecords,
  decodeSession,
  decodeTime,
  encodeAnswer,
  encodeRecords,
  encodeSession,
  encodeTime,
  parseName,
  sessionName,
  TIME_NAME,
} from "../../packages/keelson/src/runtime/sessions/session-records.ts";
import type { Chance } from "../lib/chance.ts";
import { joined } from "./mutate.ts";
import { decoded, expectThat, type Target } from "./target.ts";

const NUMBERS = [1, 2, 300, 70_000, 2 ** 33, Number.MAX_SAFE_INTEGER] as const;

/** openSession, closeSession, sessionTime and sessionCommand. */
const SESSION_KINDS = 4;

/** Session entries. The first byte chooses one of the kinds; in the log, the record's kind does. */
export const sessionEntries: Target = {
  name: "session-entries",
  share: 60,
  valid: (chance) => {
    const kind = chance.between(0, SESSION_KINDS);
    const entry = { clock: chance.pick([0, ...NUMBERS]), id: chance.pick(NUMBERS) };
    return joined(Uint8Array.of(kind), validEntry(kind, entry, chance));
  },
  run: (input) =>
    decoded(() => {
      const payload = input.subarray(1);
      expectThat(
        Buffer.compare(encodedAgain((input[0] ?? 0) % SESSION_KINDS, payload), payload) === 0,
        "an entry of a session that was taken is written as other bytes",
      );
    }),
};

function validEntry(kind: number, entry: { clock: number; id: number }, chance: Chance): Uint8Array {
  if (kind === 0) return encodeOpenSession({ ...entry, ttlMs: chance.pick(NUMBERS) });
  if (kind === 1) return encodeCloseSession(entry);
  if (kind === 2) return encodeSessionTime(entry);
  const sequence = chance.pick(NUMBERS);
  const command = new Uint8Array(chance.between(0, 60)).fill(chance.between(0, 256));
  return encodeSessionCommand({ ...entry, sequence, lowestUnanswered: chance.pick([1, sequence]), command });
}

function encodedAgain(kind: number, payload: Uint8Array): Uint8Array {
  if (kind === 0) return encodeOpenSession(decodeOpenSession(payload));
  if (kind === 1) return encodeCloseSession(decodeCloseSession(payload));
  if (kind === 2) return encodeSessionTime(decodeSessionTime(payload));
  return encodeSessionCommand(decodeSessionCommand(payload));
}

/** The session table of a snapshot, and each of its records, as a starting node reads them. */
export const sessionTable: Target = {
  name: "session-table",
  share: 60,
  valid: (chance) => {
    const number = (): number => chance.pick(NUMBERS);
    const table = new Map([[TIME_NAME, encodeTime(number())]]);
    for (let count = chance.between(0, 4); count > 0; count--) {
      const id = count * 1000;
      const state = {
        ttlMs: number(),
        lastUsedMs: number(),
        lastUsedIndex: number(),
        lowestUnanswered: number(),
      };
      table.set(sessionName(id), encodeSession(state));
      const bytes = new Uint8Array(chance.between(0, 40)).fill(chance.between(0, 256));
      const type = chance.pick(["done", "rejected", "forgotten"] as const);
      table.set(answerName(id, number()), encodeAnswer({ index: number(), type, bytes }));
    }
    return encodeRecords(table);
  },
  run: (input) =>
    decoded(() => {
      const table = decodeRecords(input);
      expectThat(
        Buffer.compare(encodeRecords(table), input) === 0,
        "a table of sessions that was taken is written as other bytes",
      );
      for (const [name, value] of table) {
        const again = recordAgain(name, value);
        expectThat(Buffer.compare(again, value) === 0, `${name} is written as other bytes`);
      }
      expectThat((countSessions(input) ?? 0) <= table.size, "there are more sessions than records");
    }),
};

function recordAgain(name: string, value: Uint8Array): Uint8Array {
  const parsed = parseName(name);
  switch (parsed.type) {
    case "time":
      return encodeTime(decodeTime(value));
    case "session":
      expectThat(sessionName(parsed.id) === name, `${name} is called otherwise`);
      return encodeSession(decodeSession(value));
    case "answer":
      expectThat(answerName(parsed.id, parsed.sequence) === name, `${name} is called otherwise`);
      return encodeAnswer(decodeAnswer(value));
  }
}
