import { expect, it } from "vitest";

import { stateSuite } from "./state-suite.ts";

it("the server's state machine is right or empty after power cuts and flipped bits (Z2, Z3)", async () => {
  expect(await stateSuite(400)).toBeNull();
  // Hundreds of databases are opened: seconds on a quiet machine, and far more on a busy one.
}, 120_000);
