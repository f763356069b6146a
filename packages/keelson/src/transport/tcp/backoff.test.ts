import { describe, expect, it } from "vitest";
import { Backoff } from "./backoff.ts";

describe("Backoff", () => {
  it("doubles the delay up to its maximum, and stays there through ten thousand failures [W5]", () => {
    const backoff = new Backoff(20, 1_000, () => 1);
    const waits = Array.from({ length: 10_000 }, () => backoff.failed(0));
    expect(waits.slice(0, 8)).toEqual([20, 40, 80, 160, 320, 640, 1_000, 1_000]);
    expect(Math.max(...waits)).toBe(1_000);
  });

  it("chooses each delay at random from the upper half", () => {
    expect(new Backoff(20, 1_000, () => 0).failed(0)).toBe(10);
    expect(new Backoff(20, 1_000, () => 0.5).failed(0)).toBe(15);
  });

  it("starts over after a connection that lasted, and not after one that ended soon", () => {
    const backoff = new Backoff(20, 1_000, () => 1);
    for (let n = 0; n < 5; n++) backoff.failed(0);
    backoff.succeeded(100);
    expect(backoff.failed(600)).toBe(640);
    backoff.succeeded(1_000);
    expect(backoff.failed(2_000)).toBe(20);
    expect(backoff.failed(3_000)).toBe(40);
  });
});
