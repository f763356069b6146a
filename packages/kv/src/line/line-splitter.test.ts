import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LineSplitter, type Line } from "./line-splitter.ts";

function text(line: Line | null): string | null {
  return line?.type === "line" ? line.bytes.toString("latin1") : (line?.type ?? null);
}

function split(bytesMax: number, ...chunks: readonly string[]): (string | null)[] {
  const splitter = new LineSplitter(bytesMax);
  const lines = chunks.flatMap((chunk) => [...splitter.push(Buffer.from(chunk, "latin1"))].map(text));
  return [...lines, text(splitter.end())];
}

describe("the line splitter", () => {
  it("ends lines at a line feed, with or without a carriage return", () => {
    expect(split(9, "a\nb\r\n\n\r\nc\rd\n")).toEqual(["a", "b", "", "", "c\rd", null]);
  });

  it("returns a last line without a line feed at the end of the stream", () => {
    expect(split(9, "a\nbc")).toEqual(["a", "bc"]);
  });

  it("gives the same lines however the bytes are cut into chunks", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[ab\r\n]{0,40}$/), fc.array(fc.nat(40)), (whole, cuts) => {
        const places = [0, ...cuts.map((cut) => Math.min(cut, whole.length)).sort((a, b) => a - b)];
        const chunks = places.map((from, at) => whole.slice(from, places[at + 1]));
        expect(split(5, ...chunks)).toEqual(split(5, whole));
      }),
    );
  });

  it("skips a line that is too long, and goes on with the next", () => {
    expect(split(3, "abc\nabcd\nab\n")).toEqual(["abc", "too-long", "ab", null]);
    expect(split(3, "abc\r\nabcd\r\nab\r\n")).toEqual(["abc", "too-long", "ab", null]);
    expect(split(3, "ab", "cd", "ef", "gh\nx\n", "abcdef")).toEqual(["too-long", "x", "too-long"]);
  });
});
