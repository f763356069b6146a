import { expect, it } from "vitest";
import { ProgressLine } from "./progress-line.ts";

function fakeStream(isTTY: boolean) {
  const written: string[] = [];
  return { isTTY, written, write: (text: string) => written.push(text) };
}

it("progress on a terminal is one line that is overwritten, and cleared at the end", () => {
  const stream = fakeStream(true);
  const line = new ProgressLine(stream, () => 0);
  line.show("100 behind");
  line.show("100 behind");
  line.show("9 behind");
  line.end();
  expect(stream.written).toEqual(["\r100 behind", "\r9 behind  ", `\r${" ".repeat(8)}\r`]);
});

it("progress in a file is a line from time to time, never the same twice in a row", () => {
  const stream = fakeStream(false);
  let now = 0;
  const line = new ProgressLine(stream, () => now);
  line.show("100 behind");
  now = 4999;
  line.show("50 behind");
  now = 5000;
  line.show("49 behind");
  now = 11_000;
  line.show("49 behind");
  line.end();
  expect(stream.written).toEqual(["100 behind\n", "49 behind\n"]);
});
