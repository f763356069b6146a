import fc from "fast-check";
import { DecodeError, DEFAULT_LIMITS } from "keelson";
import { describe, expect, it } from "vitest";
import {
  CONDITION_VERSIONS_MAX,
  decodeCommand,
  decodeResult,
  encodeCommand,
  encodeResult,
  KEY_BYTES_MAX,
  VALUE_BYTES_MAX,
  type Condition,
  type KvCommand,
  type KvResult,
} from "./commands.ts";

const conditions: fc.Arbitrary<Condition | null> = fc.oneof(
  fc.constant(null),
  fc.constant({ type: "exists" } as const),
  fc.constant({ type: "absent" } as const),
  fc.record({
    type: fc.constant("version" as const),
    versions: fc.array(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), {
      maxLength: CONDITION_VERSIONS_MAX,
    }),
  }),
);
const keys = fc.uint8Array({ minLength: 1, maxLength: KEY_BYTES_MAX });
const commands: fc.Arbitrary<KvCommand> = fc.oneof(
  fc.record({
    type: fc.constant("put" as const),
    key: keys,
    value: fc.uint8Array({ maxLength: 5000 }),
    condition: conditions,
  }),
  fc.record({ type: fc.constant("delete" as const), key: keys, condition: conditions }),
);

/** The command with arrays instead of views, which compare by content. */
function plain(command: KvCommand): object {
  const value = command.type === "put" ? { value: [...command.value] } : {};
  return { ...command, key: [...command.key], ...value };
}

describe("a command's encoding", () => {
  it("decodes to the command that was encoded", () => {
    fc.assert(
      fc.property(commands, (command) => {
        expect(plain(decodeCommand(encodeCommand(command)))).toEqual(plain(command));
      }),
    );
  });

  it("fits the largest command into the library's limit for one", () => {
    const command: KvCommand = {
      type: "put",
      key: new Uint8Array(KEY_BYTES_MAX).fill(1),
      value: new Uint8Array(VALUE_BYTES_MAX).fill(2),
      condition: {
        type: "version",
        versions: Array.from({ length: CONDITION_VERSIONS_MAX }, (_, at) => at + 1),
      },
    };
    const bytes = encodeCommand(command);
    expect(bytes.length).toBeLessThanOrEqual(DEFAULT_LIMITS.commandBytesMax);
    expect(Buffer.compare(encodeCommand(decodeCommand(bytes)), bytes)).toBe(0);
  });

  it("doesn't change, since logs hold it", () => {
    const condition = { type: "version", versions: [258] } as const;
    const put = encodeCommand({ type: "put", key: Buffer.from("k"), value: Buffer.from("v"), condition });
    expect(Buffer.from(put).toString("hex")).toBe("01010301" + "0001" + "0000000000000102" + "6b" + "76");
    const del = encodeCommand({ type: "delete", key: Buffer.from("k"), condition: null });
    expect(Buffer.from(del).toString("hex")).toBe("01020000" + "0001" + "6b");
  });

  it.each([
    ["an empty key", { key: new Uint8Array(0) }, /key is empty; a key has 1 to 1024 bytes/],
    ["a long key", { key: new Uint8Array(KEY_BYTES_MAX + 1) }, /1025 bytes; the limit is 1024/],
    ["a long value", { value: new Uint8Array(VALUE_BYTES_MAX + 1) }, /1046529 bytes; the limit is 1046528/],
    [
      "too many versions",
      {
        condition: {
          type: "version",
          versions: new Array<number>(CONDITION_VERSIONS_MAX + 1).fill(1),
        } as const,
      },
      /17 versions; the limit is 16/,
    ],
    [
      "a version that is none",
      { condition: { type: "version", versions: [0] } as const },
      /0 is not a version/,
    ],
  ])("refuses %s and says the limit", (_, part, message) => {
    const command = {
      type: "put",
      key: Buffer.from("k"),
      value: Buffer.from("v"),
      condition: null,
      ...part,
    } as const;
    expect(() => encodeCommand(command)).toThrow(message);
  });

  it("decodes arbitrary bytes to a command that encodes to them, or refuses them", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (tail) => {
        const bytes = Uint8Array.of(1, ...tail);
        let command: KvCommand;
        try {
          command = decodeCommand(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(DecodeError);
          return;
        }
        expect(Buffer.compare(encodeCommand(command), bytes)).toBe(0);
      }),
      { numRuns: 2000 },
    );
  });

  it("is refused when it ends before the value", () => {
    const condition = { type: "version", versions: [7] } as const;
    const bytes = encodeCommand({ type: "delete", key: Buffer.from("key"), condition });
    for (let length = 0; length < bytes.length; length++) {
      expect(() => decodeCommand(bytes.subarray(0, length))).toThrow(DecodeError);
    }
  });

  it("is refused if its format is of a later version of the program", () => {
    const bytes = Uint8Array.of(2, 1, 0, 0, 0, 1, 1);
    expect(() => decodeCommand(bytes)).toThrow("a command of format 2; this program reads format 1");
  });
});

const anyVersion = fc.option(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }));
const results: fc.Arbitrary<KvResult> = fc.oneof(
  fc.record({
    type: fc.constant("applied" as const),
    index: fc.maxSafeNat(),
    version: anyVersion,
    existed: fc.option(fc.boolean()),
  }),
  fc.record({ type: fc.constant("condition-failed" as const), version: anyVersion }),
);

describe("a result's encoding", () => {
  it("decodes to the result that was encoded", () => {
    fc.assert(
      fc.property(results, (result) => {
        expect(decodeResult(encodeResult(result))).toEqual(result);
      }),
    );
  });

  it.each([
    ["nothing", []],
    ["a later format", [2, ...Array<number>(18).fill(0)]],
    ["too few bytes", [1, 1, ...Array<number>(16).fill(0)]],
    ["an outcome that is none", [1, 3, ...Array<number>(17).fill(0)]],
    ["neither yes nor no nor unknown", [1, 1, 3, ...Array<number>(16).fill(0)]],
  ])("refuses %s", (_what, bytes) => {
    expect(() => decodeResult(Uint8Array.from(bytes))).toThrow(DecodeError);
  });
});
