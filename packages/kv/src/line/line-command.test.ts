import { describe, expect, it } from "vitest";
import { KEY_BYTES_MAX } from "../store/commands.ts";
import { parseLine } from "./line-command.ts";

const bytes = (text: string): Buffer => Buffer.from(text);

describe("a line of the protocol", () => {
  it("puts the rest of the line as the value, spaces included", () => {
    expect(parseLine(bytes("put 1 bar"))).toEqual({ type: "put", key: bytes("1"), value: bytes("bar") });
    expect(parseLine(bytes("put k  a b "))).toEqual({ type: "put", key: bytes("k"), value: bytes(" a b ") });
    expect(parseLine(bytes("put k "))).toEqual({ type: "put", key: bytes("k"), value: bytes("") });
  });

  it("gets and deletes one key", () => {
    expect(parseLine(bytes("get é"))).toEqual({ type: "get", key: bytes("é") });
    expect(parseLine(bytes("del 1"))).toEqual({ type: "delete", key: bytes("1") });
  });

  it.each([
    ["", "an empty line; the commands are: put KEY VALUE, get KEY, del KEY"],
    [" get 1", "a line begins with a command; the commands are: put KEY VALUE, get KEY, del KEY"],
    ["PUT 1 2", 'unknown command "PUT"; the commands are: put KEY VALUE, get KEY, del KEY'],
    ["\u001b[2J", 'unknown command "\\u001b[2J"; the commands are: put KEY VALUE, get KEY, del KEY'],
    ["put", "put needs a key and a value: put KEY VALUE"],
    ["put k", "put needs a value after the key: put KEY VALUE"],
    ["put  v", "the key is empty; a key has 1 to 1024 bytes"],
    ["get", "get needs a key: get KEY"],
    ["get ", "get needs a key: get KEY"],
    ["get a b", "get takes one key, which has no spaces: get KEY"],
    ["del", "del needs a key: del KEY"],
    [`get ${"k".repeat(KEY_BYTES_MAX + 1)}`, "the key has 1025 bytes; the limit is 1024"],
    [`put ${"k".repeat(KEY_BYTES_MAX + 1)} v`, "the key has 1025 bytes; the limit is 1024"],
  ])("is refused if it is %j, with what is wrong", (line, reason) => {
    expect(parseLine(bytes(line))).toEqual({ type: "invalid", reason });
  });

  it("with an unknown command gets an error that quotes at most 32 characters of it", () => {
    const parsed = parseLine(bytes("x".repeat(5000)));
    expect(parsed.type === "invalid" && parsed.reason.length).toBeLessThan(120);
  });
});
