import { describe, expect, it } from "vitest";
import { seededRandom } from "../environment/simulated/simulated-clock.ts";
import { beganWith, clusterIdOf, isNamed, newIncarnation } from "./cluster-id.ts";

const FIRST = new TextEncoder().encode("a membership");
const OTHER = new TextEncoder().encode("another membership");

describe("a cluster's id", () => {
  it.each([null, "orders"])(
    "under the name %s tells in every incarnation what the cluster began with",
    (name) => {
      const id = clusterIdOf(FIRST, name);
      const second = newIncarnation(id, seededRandom(1));
      const third = newIncarnation(second, seededRandom(2));
      expect(second).toMatch(/^(orders\/)?[0-9a-f]{32}\+[0-9a-f]{16}$/);
      expect(third).toMatch(/^(orders\/)?[0-9a-f]{32}\+[0-9a-f]{16}$/);
      expect(new Set([id, second, third]).size).toBe(3);
      for (const one of [id, second, third]) {
        expect([beganWith(one, FIRST), beganWith(one, OTHER)]).toEqual([true, false]);
        expect([isNamed(one, name), isNamed(one, "order")]).toEqual([true, false]);
      }
    },
  );
});
