import type { TestFramework } from "./test-framework.ts";
import { connectionCases } from "./transport/connection-cases.ts";
import { deliveryCases } from "./transport/delivery-cases.ts";
import { handshakeCases } from "./transport/handshake-cases.ts";
import type { TransportCase, TransportRig } from "./transport/transport-rig.ts";

export type { TransportCase, TransportRig } from "./transport/transport-rig.ts";

/**
 * Checks that a `Transport` keeps its promises on a healthy network, and refuses nodes that don't belong to
 * the cluster. `makeRig` is called for each case.
 *
 * @example
 * describeTransport("my transport", () => myRig(), { describe, it });
 */
export function describeTransport(
  name: string,
  makeRig: () => TransportRig,
  { describe, it }: TestFramework,
): void {
  describe(`${name}, as a Transport,`, () => {
    for (const { name: sentence, run } of transportCases) it(sentence, () => run(makeRig()));
  });
}

/** What every transport must do, as named cases. */
export const transportCases: readonly TransportCase[] = [
  ...deliveryCases,
  ...handshakeCases,
  ...connectionCases,
];
