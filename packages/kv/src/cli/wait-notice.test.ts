import { expect, it } from "vitest";
import { ProgressLine } from "./progress-line.ts";
import { WaitNotice } from "./wait-notice.ts";

function notice(): { notice: WaitNotice; shown: { text: string; atMs: number }[] } {
  const shown: { text: string; atMs: number }[] = [];
  const began = performance.now();
  const write = (text: string): void => void shown.push({ text, atMs: performance.now() - began });
  return { notice: new WaitNotice(new ProgressLine({ write })), shown };
}

it("says within a second what a command waits for, and once only", async () => {
  const { notice: waiting, shown } = notice();
  waiting.waitFor("waiting for a");
  await new Promise((resolve) => setTimeout(resolve, 1_600));
  waiting.end();
  expect(shown.map(({ text }) => text)).toEqual(["waiting for a\n"]);
  expect(shown[0]?.atMs).toBeLessThan(1_000);
});

it("says nothing of a short wait", async () => {
  const { notice: waiting, shown } = notice();
  waiting.waitFor("waiting for a");
  waiting.end();
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  expect(shown).toEqual([]);
});
