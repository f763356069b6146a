import { AnswerReader, AnswerWriter, type Answer } from "../../packages/kv/src/binary/answers.ts";
import { CallReader, CallWriter, type Call } from "../../packages/kv/src/binary/calls.ts";
import {
  readGoodbye,
  readHello,
  readPing,
  readWelcome,
  type ControlWriter,
} from "../../packages/kv/src/binary/control.ts";
import { FrameReader, type Frame } from "../../packages/kv/src/binary/frame-reader.ts";
import { checksumOf } from "../../packages/kv/src/binary/frame-writer.ts";
import {
  FRAME_BYTES_MAX,
  FRAME_HEADER_BYTES,
  FRAMES,
  ProtocolError,
} from "../../packages/kv/src/binary/wire.ts";
import { MemoryBudget } from "../../packages/kv/src/shared/memory-budget.ts";
import type { Condition } from "../../packages/kv/src/store/commands.ts";
import type { Chance } from "../lib/chance.ts";
import { cutAnywhere } from "./mutate.ts";
import { expectThat, shown, type Target } from "./target.ts";

/** A reader takes at most twice the bytes that it has received, and this much for a frame's start. */
const READER_BYTES_MIN = 1024;

const KEYS = ["k", "a/longer/key", "\0\u00ff", "k".repeat(1024)] as const;
const NUMBERS = [0, 1, 2 ** 32, Number.MAX_SAFE_INTEGER] as const;

/** What a client of the binary protocol sends: frames of calls, and those about the connection. */
export const calls: Target = {
  name: "calls",
  share: 110,
  valid: (chance) => {
    const writer = new CallWriter();
    if (chance.often(0.2)) writer.hello({ features: 0, token: chance.pick(["a-token-of-16-chars", null]) });
    const count = chance.between(0, 5);
    for (let id = 0; id < count; id++) writeCall(writer, validCall(id, chance));
    writeControl(writer, chance);
    return writer.take();
  },
  repair: repairFrames,
  run: (input, chance) =>
    verdictOn(input, chance, (frames) => {
      const writer = new CallWriter();
      return frames.map((frame) => {
        if (frame.type !== FRAMES.calls) return controlIn(frame, writer);
        const reader = new CallReader(frame.payload);
        const found: Call[] = [];
        for (let call = reader.next(); call !== null; call = reader.next()) found.push(call);
        for (const call of found) {
          if (call.type === "unknown") continue;
          writeCall(writer, call);
          const again = new CallReader(onlyFrame(writer.take()).payload).next();
          expectThat(shown(again) === shown(call), `${shown(call)} came back as ${shown(again)}`);
        }
        return found;
      });
    }),
};

/** What a server of the binary protocol sends. */
export const answers: Target = {
  name: "answers",
  share: 110,
  valid: (chance) => {
    const writer = new AnswerWriter();
    if (chance.often(0.2)) writer.welcome({ features: 0, frameBytesMax: 1, callsMax: 2, idleMs: 3 });
    const count = chance.between(0, 5);
    for (let id = 0; id < count; id++) writeAnswer(writer, validAnswer(id, chance));
    writeControl(writer, chance);
    return writer.take();
  },
  repair: repairFrames,
  run: (input, chance) =>
    verdictOn(input, chance, (frames) => {
      const writer = new AnswerWriter();
      return frames.map((frame) => {
        if (frame.type !== FRAMES.answers) return controlIn(frame, writer);
        const reader = new AnswerReader(frame.payload);
        const found: Answer[] = [];
        for (let answer = reader.next(); answer !== null; answer = reader.next()) found.push(answer);
        for (const answer of found) {
          // The writer cuts long texts, and replaces what is no UTF-8.
          if (answer.type === "error") continue;
          writeAnswer(writer, answer);
          const again = new AnswerReader(onlyFrame(writer.take()).payload).next();
          expectThat(shown(again) === shown(answer), `${shown(answer)} came back as ${shown(again)}`);
        }
        return found;
      });
    }),
};

/** Reads the input in one piece and in several, which must be the same, and reads each frame's content. */
function verdictOn(
  input: Uint8Array,
  chance: Chance,
  contentOf: (frames: readonly Frame[]) => unknown,
): "taken" | "refused" {
  const whole = readFrames([input]);
  const pieces = readFrames(cutAnywhere(input, chance));
  expectThat(
    shown(whole) === shown(pieces),
    `what is read depends on how the stream is cut: ${shown(whole)} and ${shown(pieces)}`,
  );
  if (whole.error !== null || whole.isInside) return "refused";
  try {
    contentOf(whole.frames);
    return "taken";
  } catch (error) {
    if (error instanceof ProtocolError) return "refused";
    throw error;
  }
}

function readFrames(chunks: readonly Uint8Array[]): {
  readonly frames: readonly Frame[];
  readonly error: string | null;
  readonly isInside: boolean;
} {
  const budget = new MemoryBudget(Number.MAX_SAFE_INTEGER);
  const reader = new FrameReader(budget.open());
  const frames: Frame[] = [];
  let received = 0;
  try {
    for (const chunk of chunks) {
      received += chunk.length;
      // A copy that is overwritten afterwards: what a frame keeps of its chunk would change.
      const own = Buffer.from(chunk);
      reader.push(own);
      for (;;) {
        const frame = reader.next(FRAME_BYTES_MAX);
        expectThat(budget.bytes <= READER_BYTES_MIN + 2 * received, `${budget.bytes} bytes for ${received}`);
        if (typeof frame !== "object") break;
        frames.push({ ...frame, payload: Buffer.from(frame.payload), heldBytes: 0 });
      }
      own.fill(0xee);
    }
    return { frames, error: null, isInside: reader.isInside };
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    return { frames, error: error.message, isInside: false };
  }
}

/** Reads a frame about the connection, which must read the same when it is written again. */
function controlIn(frame: Frame, writer: ControlWriter): unknown {
  const content = readControl(frame);
  // Text that is no UTF-8 comes back longer.
  if (frame.type === FRAMES.hello || frame.type === FRAMES.goodbye) return content;
  rewrite(frame.type, frame.payload, writer);
  const again = readControl(onlyFrame(writer.take()));
  expectThat(shown(again) === shown(content), `${shown(content)} came back as ${shown(again)}`);
  return content;
}

function readControl({ type, payload }: Frame): unknown {
  switch (type) {
    case FRAMES.hello:
      return readHello(payload);
    case FRAMES.welcome:
      return readWelcome(payload);
    case FRAMES.ping:
    case FRAMES.pong:
      return readPing(payload);
    case FRAMES.goodbye:
      return readGoodbye(payload);
    default:
      throw new ProtocolError("BAD_FRAME", "another frame");
  }
}

function rewrite(type: number, payload: Uint8Array, writer: ControlWriter): void {
  if (type === FRAMES.welcome) writer.welcome(readWelcome(payload));
  else if (type === FRAMES.ping) writer.ping(readPing(payload));
  else writer.pong(readPing(payload));
}

function writeControl(writer: ControlWriter, chance: Chance): void {
  if (chance.often(0.2)) writer.ping(chance.pick(NUMBERS));
  if (chance.often(0.2)) writer.goodbye({ code: "IDLE", message: "ü", framesTaken: chance.pick(NUMBERS) });
}

function onlyFrame(bytes: Uint8Array): Frame {
  const reader = new FrameReader();
  reader.push(bytes);
  const frame = reader.next(FRAME_BYTES_MAX);
  expectThat(
    typeof frame === "object" && reader.next(FRAME_BYTES_MAX) === "incomplete",
    "a frame that was written isn't one frame",
  );
  return frame;
}

/** Corrects the checksums of frames as far as their lengths are possible. */
function repairFrames(bytes: Uint8Array): void {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at + FRAME_HEADER_BYTES <= view.length;) {
    const end = at + FRAME_HEADER_BYTES + view.readUInt32LE(at);
    if (end > view.length) return;
    view.writeUInt32LE(checksumOf(view.subarray(at + FRAME_HEADER_BYTES, end)), at + 4);
    at = end;
  }
}

function validCondition(chance: Chance): Condition | null {
  return chance.pick<Condition | null>([
    null,
    { type: "exists" },
    { type: "absent" },
    { type: "version", versions: NUMBERS.slice(0, chance.between(0, 4)) },
  ]);
}

function validCall(id: number, chance: Chance): Call {
  const key = Buffer.from(chance.pick(KEYS));
  const deadlineMs = chance.pick([0, 1, 0xffff_ffff]);
  const consistency = chance.pick(["linearizable", "lease", "stale"] as const);
  const session = chance.pick([null, { id: 7, sequence: Number.MAX_SAFE_INTEGER, lowestUnanswered: 1 }]);
  switch (chance.between(0, 6)) {
    case 0: {
      const value = Buffer.alloc(chance.between(0, 3000), 1);
      return { type: "put", id, deadlineMs, key, value, condition: validCondition(chance), session };
    }
    case 1:
      return { type: "delete", id, deadlineMs, key, condition: validCondition(chance), session };
    case 2:
      return { type: "get", id, deadlineMs, key, consistency, unless: validCondition(chance) };
    case 3: {
      const after = Buffer.from(chance.pick(["", "b"]));
      return { type: "list", id, deadlineMs, prefix: key, after, limit: chance.pick([0, 10]), consistency };
    }
    case 4:
      return { type: "open-session", id, deadlineMs, ttlMs: chance.pick(NUMBERS) };
    default:
      return { type: "end-session", id, deadlineMs, session: chance.pick(NUMBERS) };
  }
}

function writeCall(writer: CallWriter, call: Call): void {
  const { id, deadlineMs } = call;
  switch (call.type) {
    case "put":
      writer.put(id, call.key, call.value, call.condition, call.session, deadlineMs);
      break;
    case "delete":
      writer.delete(id, call.key, call.condition, call.session, deadlineMs);
      break;
    case "get":
      writer.get(id, call.key, call.consistency, call.unless, deadlineMs);
      break;
    case "list":
      writer.list(id, call.prefix, call.after, call.limit, call.consistency, deadlineMs);
      break;
    case "open-session":
      writer.openSession(id, call.ttlMs, deadlineMs);
      break;
    case "end-session":
      writer.endSession(id, call.session, deadlineMs);
      break;
    case "unknown":
      throw new RangeError("an unknown call can't be written");
  }
}

function validAnswer(id: number, chance: Chance): Answer {
  const staleness = chance.pick([
    null,
    { appliedIndex: 2 ** 40, commitIndex: 1, leaderHeardMsAgo: chance.pick([null, 0, 12]) },
  ]);
  const version = chance.pick(NUMBERS);
  switch (chance.between(0, 8)) {
    case 0:
      return { type: "put", id, index: chance.pick(NUMBERS), version };
    case 1:
      return { type: "deleted", id, index: version, existed: chance.pick([null, true, false]) };
    case 2:
      return { type: "value", id, version, value: new Uint8Array(chance.between(0, 3000)), staleness };
    case 3:
      return { type: "unchanged", id, version, staleness };
    case 4: {
      const keys = KEYS.slice(0, chance.between(0, 4)).map((text) => ({
        ...{ key: new Uint8Array(Buffer.from(text)), version, bytes: 5 },
      }));
      return { type: "keys", id, keys, more: chance.often(0.5), staleness };
    }
    case 5:
      return { type: "session", id, session: version, ttlMs: 1 };
    case 6:
      return { type: "ended", id };
    default: {
      const leader = chance.pick([null, "https://node-2:9001"]);
      const text = { code: "NOT_LEADER", message: chance.pick(["", "another node leads, «n2»"]) };
      const error = { status: 307, ...text, outcome: chance.pick(["not-done", "unknown", "done"] as const) };
      return { type: "error", id, error: { ...error, leader, version: null, retryAfterMs: 1000 }, staleness };
    }
  }
}

function writeAnswer(writer: AnswerWriter, answer: Answer): void {
  const { id } = answer;
  switch (answer.type) {
    case "put":
      writer.put(id, answer.index, answer.version);
      break;
    case "deleted":
      writer.deleted(id, answer.index, answer.existed);
      break;
    case "value":
      writer.value(id, answer.version, answer.value, answer.staleness);
      break;
    case "unchanged":
      writer.unchanged(id, answer.version, answer.staleness);
      break;
    case "keys":
      writer.keys(id, answer.keys, answer.more, answer.staleness);
      break;
    case "session":
      writer.session(id, answer.session, answer.ttlMs);
      break;
    case "ended":
      writer.ended(id);
      break;
    case "error":
      writer.error(id, answer.error, answer.staleness);
  }
}
