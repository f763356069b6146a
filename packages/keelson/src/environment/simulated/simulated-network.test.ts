import { expect, it } from "vitest";
import { SimulatedClock, seededRandom } from "./simulated-clock.ts";
import { SimulatedNetwork } from "./simulated-network.ts";

it("tells whoever connects at once that a host is unreachable, and not that a link is cut", async () => {
  const clock = new SimulatedClock();
  const network = new SimulatedNetwork(clock, seededRandom(1));
  await network.host("b").listen("b:1", () => undefined);
  const failures: string[] = [];
  const dial = (): void => {
    network.host("a").connect("b:1").handler = {
      onOpen: () => failures.push("open"),
      onData: () => undefined,
      onClose: (reason: string) => failures.push(reason),
    };
  };
  network.setLink("a", "b", { cut: true });
  dial();
  await clock.advance(5_000);
  expect(failures).toEqual([]);
  network.setLink("a", "b", { unreachable: true });
  dial();
  await clock.advance(1);
  expect(failures).toEqual(["connect EHOSTUNREACH b:1"]);
  network.setLink("a", "b", { cut: false, unreachable: false });
  await clock.advance(1);
  expect(failures).toEqual(["connect EHOSTUNREACH b:1", "open"]);
});
