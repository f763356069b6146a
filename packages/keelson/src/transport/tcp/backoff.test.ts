import { describe, expect, it } from "vitest";
import { Backoff } from "./backoff.ts";

describe("Backoff", () => {
  it("W5: doubles up to its cap, and stays finite through ten thousand failures", () => {
    const backoff = new Backoff(20, 1_000, () => 1);
    const waits = Array.from({ length: 10_000 }, () => backoff.failed(0));
    expect(waits.slice(0, 8)).toEqual([20, 40, 80, 160, 320, 640, 1_000, 1_000]);
    expect(Math.max(...waits)).toBe(1_000);
  });

  it("waits at least half of the full time, by chance", () => {
    expect(new Backoff(20, 1_000, () => 0).failed(0)).toBe(10);
    expect(new Backoff(20, 1_000, () => 0.5).failed(0)).toBe(15);
  });

  it("begins anew after a success that held, and goes on after one that did not", () => {
    const backoff = new Backoff(20, 1_000, () => 1);
    for (let n = 0; n < 5; n++) backoff.failed(0);
    backoff.succeeded(100);
    expect(backoff.failed(600)).toBe(640);
    backoff.succeeded(1_000);
    expect(backoff.failed(2_000)).toBe(20);
    expect(backoff.failed(3_000)).toBe(40);
  });
});
