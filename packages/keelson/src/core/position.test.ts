import { describe, expect, it } from "vitest";

import { isUpToDate, samePosition } from "./position.ts";
import { at } from "./test/script.ts";

describe("two positions", () => {
  it("name the same entry if both index and term are the same", () => {
    expect(samePosition(at("3@2"), at("3@2"))).toBe(true);
    expect(samePosition(at("3@2"), at("4@2"))).toBe(false);
    expect(samePosition(at("3@2"), at("3@1"))).toBe(false);
  });
});

describe("the more up-to-date of two logs [E1]", () => {
  it("is the one with the later last term, however short", () => {
    expect(isUpToDate(at("1@3"), at("9@2"))).toBe(true);
    expect(isUpToDate(at("9@2"), at("1@3"))).toBe(false);
  });

  it("is the longer one within a term, and each of them if they are equal", () => {
    expect(isUpToDate(at("5@2"), at("4@2"))).toBe(true);
    expect(isUpToDate(at("4@2"), at("5@2"))).toBe(false);
    expect(isUpToDate(at("4@2"), at("4@2"))).toBe(true);
  });
});
