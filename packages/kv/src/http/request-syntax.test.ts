import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  BadRequestError,
  conditionOf,
  consistencyOf,
  hasVersion,
  keyOf,
  parametersOf,
  percentDecode,
  percentEncode,
  splitTarget,
  textOf,
} from "./request-syntax.ts";

describe("percent-encoding", () => {
  it("decodes to the bytes that were encoded, in a path and in a query", () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        const text = percentEncode(bytes);
        expect(text).toMatch(/^[A-Za-z0-9._~%-]*$/);
        expect([...percentDecode(text, "path", "it")]).toEqual([...bytes]);
        expect([...percentDecode(text, "query", "it")]).toEqual([...bytes]);
      }),
    );
  });

  it("decodes a plus sign as a space in a query only", () => {
    expect(percentDecode("a+b", "path", "it").toString()).toBe("a+b");
    expect(percentDecode("a+b", "query", "it").toString()).toBe("a b");
  });

  it.each(["%", "%4", "%zz", "a%f"])("refuses %j", (text) => {
    expect(() => percentDecode(text, "path", "the key")).toThrow(/^the key: "%.*hexadecimal/);
  });
});

describe("a request's target", () => {
  it("is split as if its scheme and host were cut off, and the rest at the first question mark", () => {
    const piece = fc.constantFrom("/", "?", "a", "http", "://", "%3f", "#", ".", "A+");
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
        const target = pieces.join("");
        const local = target.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i, "");
        const [path = "", ...rest] = local.split("?");
        expect(splitTarget(target)).toEqual({ path, query: rest.join("?") });
      }),
    );
  });

  it("is split into path and query, whether or not it is a whole URL", () => {
    expect(splitTarget("/kv/a?b=c?d")).toEqual({ path: "/kv/a", query: "b=c?d" });
    expect(splitTarget("http://host:80/kv/a")).toEqual({ path: "/kv/a", query: "" });
  });

  it("can hold a key of any bytes, slashes included", () => {
    expect(keyOf("/kv/a/b%2Fc%FF?x=1")).toEqual(Buffer.from("a/b/c\u00ff", "latin1"));
  });

  it("has only known parameters, each once", () => {
    expect(parametersOf("/kv?prefix=a%20b&limit=2&", ["prefix", "limit"])).toEqual(
      new Map([
        ["prefix", Buffer.from("a b")],
        ["limit", Buffer.from("2")],
      ]),
    );
    expect(() => parametersOf("/kv?prefx=a", ["prefix"])).toThrow(
      'unknown parameter "prefx"; known here: prefix',
    );
    expect(() => parametersOf("/kv?prefix=a&prefix=b", ["prefix"])).toThrow(/given twice/);
  });

  it("names the consistency of a read", () => {
    expect(consistencyOf(undefined)).toBe("linearizable");
    expect(consistencyOf(Buffer.from("stale"))).toBe("stale");
    expect(() => consistencyOf(Buffer.from("eventual"))).toThrow(BadRequestError);
  });
});

describe("the condition of a write", () => {
  it.each([
    ['"12"', [12]],
    ['"12", "13" ,"14"', [12, 13, 14]],
    // A weak tag never matches in a strong comparison; a tag that this server never gives matches nothing.
    ['W/"12"', []],
    ['"abc", "0", "99999999999999999999", "7"', [7]],
    ['"a,b", "7"', [7]],
  ])("If-Match: %s means the versions %j", (header, versions) => {
    expect(conditionOf(header, undefined)).toEqual({ type: "version", versions });
  });

  it("can be that the key has a value, or none", () => {
    expect(conditionOf("*", undefined)).toEqual({ type: "exists" });
    expect(conditionOf(undefined, " * ")).toEqual({ type: "absent" });
    expect(conditionOf(undefined, undefined)).toBeNull();
  });

  it.each([
    ["12", undefined, /versions in quotes/],
    ['"12', undefined, /versions in quotes/],
    ['"12" "13"', undefined, /versions in quotes/],
    ["", undefined, /versions in quotes/],
    [Array.from({ length: 17 }, (_, at) => `"${at + 1}"`).join(), undefined, /17 versions; the limit is 16/],
    [undefined, '"12"', /If-None-Match: \* only/],
    ["*", "*", /not both/],
  ])("is refused for If-Match: %s, If-None-Match: %s", (ifMatch, ifNoneMatch, message) => {
    expect(() => conditionOf(ifMatch, ifNoneMatch)).toThrow(message);
    expect(() => conditionOf(ifMatch, ifNoneMatch)).toThrow(BadRequestError);
  });
});

describe("the condition of a read", () => {
  it("holds if one of the tags is the version, by weak comparison", () => {
    expect(hasVersion(undefined, 7)).toBe(false);
    expect(hasVersion('"6"', 7)).toBe(false);
    expect(hasVersion('"6", W/"7"', 7)).toBe(true);
    expect(hasVersion("*", 7)).toBe(true);
  });
});

it("bytes decode to text only if they are UTF-8, a byte order mark included", () => {
  expect(textOf(Buffer.from("é"))).toBe("é");
  expect(textOf(Buffer.from("\ufeffa"))).toBe("\ufeffa");
  expect(textOf(Uint8Array.of(0xc3))).toBeNull();
});
