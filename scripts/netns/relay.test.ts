import { expect, it } from "vitest";

import { Chance } from "../lib/chance.ts";
import { arrivalsOf, destinationOf, HEALTHY, type Impairment } from "./relay.ts";

function arrivals(impairment: Partial<Impairment>, count = 1000): number[][] {
  const chance = new Chance(7);
  return Array.from({ length: count }, () => arrivalsOf({ ...HEALTHY, ...impairment }, chance));
}

it("passes each packet on once and at once on a healthy link", () => {
  expect(arrivals({}).every((copies) => copies.length === 1 && copies[0] === 0)).toBe(true);
});

it("loses and duplicates about as many packets as it should", () => {
  const lost = arrivals({ loss: 0.2 }).filter((copies) => copies.length === 0).length;
  expect(lost).toBeGreaterThan(150);
  expect(lost).toBeLessThan(250);
  const doubled = arrivals({ duplicate: 0.1 }).filter((copies) => copies.length === 2).length;
  expect(doubled).toBeGreaterThan(60);
  expect(doubled).toBeLessThan(140);
});

it("delays by the given time, and holds back some so that later ones overtake them", () => {
  const delays = arrivals({ delayMs: 50, jitterMs: 10 }).flat();
  expect(Math.min(...delays)).toBeGreaterThanOrEqual(40);
  expect(Math.max(...delays)).toBeLessThanOrEqual(60);
  expect(new Set(arrivals({ reorder: 0.5 }).flat()).size).toBe(2);
});

it("reads the destination of an IPv4 packet, and ignores others", () => {
  const packet = Buffer.alloc(20);
  packet[0] = 0x45;
  packet.set([10, 77, 0, 2], 16);
  expect(destinationOf(packet)).toBe("10.77.0.2");
  packet[0] = 0x60;
  expect(destinationOf(packet)).toBeNull();
  expect(destinationOf(Buffer.alloc(3, 0x45))).toBeNull();
});
