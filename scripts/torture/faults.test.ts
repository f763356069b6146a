import { expect, it } from "vitest";

import { parseTortureOptions } from "./options.ts";
import { plan, type PlannedFault } from "./faults.ts";

function first(seed: number, lane: PlannedFault["lane"], count = 30): PlannedFault[] {
  const faults = plan(seed, lane, ["x", "y", "z"]);
  return Array.from({ length: count }, () => faults.next().value as PlannedFault);
}

it("plans the same faults for a seed, others for another, and others for each lane", () => {
  expect(first(1, "processes")).toEqual(first(1, "processes"));
  expect(first(1, "processes")).not.toEqual(first(2, "processes"));
  expect(first(1, "processes").map(({ whom }) => whom)).not.toEqual(
    first(1, "network").map(({ whom }) => whom),
  );
  expect(new Set(first(3, "network").map(({ kind }) => kind))).toEqual(new Set(["x", "y", "z"]));
});

it("names the option that isn't valid", () => {
  expect(() => parseTortureOptions([])).toThrow("--minutes is missing");
  expect(() => parseTortureOptions(["--minutes", "0"])).toThrow("--minutes is a number above 0");
  expect(() => parseTortureOptions(["--minutes", "1", "--nodes", "2"])).toThrow(
    "--nodes is a whole number from 3 to 9",
  );
  expect(() => parseTortureOptions(["--minutes", "1", "--network", "x"])).toThrow(
    "--network is namespaces, proxies or auto",
  );
  expect(parseTortureOptions(["--help"])).toBeNull();
  expect(parseTortureOptions(["--minutes", "0.5", "--seed", "7"])).toMatchObject({
    minutes: 0.5,
    seed: 7,
    nodes: 5,
  });
});
