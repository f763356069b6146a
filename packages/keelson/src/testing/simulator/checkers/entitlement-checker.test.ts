import { describe, expect, it } from "vitest";
import { configOf } from "../../../core/config.ts";
import type { Message } from "../../../core/message.ts";
import { ClusterHistory } from "./cluster-history.ts";
import { EntitlementChecker } from "./entitlement-checker.ts";

const LAST = { term: 2, index: 5 };
const CONFIG = configOf(["a", "b", "c"]);

/** Node "a" of three voters; node "c" leads term 2. */
function nodeA() {
  const history = new ClusterHistory();
  history.leaders.set(2, "c");
  const checker = new EntitlementChecker(history, true);
  return {
    checker,
    send: (message: Message) => {
      checker.sending("a", message, () => CONFIG);
    },
    receive: (message: Message) => {
      checker.receiving("a", message);
    },
  };
}

const preVote = (round: number): Message => ({ type: "pre-vote", from: "a", term: 2, last: LAST, round });
const granted = (from: string, round: number): Message => ({
  ...{ type: "pre-vote-reply", from, term: 2, granted: true, round },
});
const stand = (transfer: boolean): Message => ({
  ...{ type: "request-vote", from: "a", term: 3, last: LAST, transfer },
});

describe("EntitlementChecker", () => {
  it("accepts a candidate that a majority granted its last round, and reports one without that (STABLE)", () => {
    const { send, receive } = nodeA();
    send(preVote(1));
    receive(granted("b", 1));
    expect(() => {
      send(stand(false));
    }).not.toThrow();
    send(preVote(2));
    receive(granted("b", 1));
    expect(() => {
      send(stand(false));
    }).toThrow("STABLE: a stands in term 3 without a majority");
  });

  it("forgets grants at a restart (STABLE)", () => {
    const { checker, send, receive } = nodeA();
    send(preVote(1));
    receive(granted("b", 1));
    checker.started("a");
    expect(() => {
      send(stand(false));
    }).toThrow("STABLE");
  });

  it("reports a claimed transfer unless the leader of the term before asked for it (STABLE)", () => {
    const { send, receive } = nodeA();
    receive({ type: "timeout-now", from: "b", term: 2 });
    receive({ type: "timeout-now", from: "c", term: 1 });
    expect(() => {
      send(stand(true));
    }).toThrow("STABLE: a stands in term 3 as if the leader of the term before had asked it to");
    receive({ type: "timeout-now", from: "c", term: 2 });
    expect(() => {
      send(stand(true));
    }).not.toThrow();
  });

  it("reports a node that speaks as the leader of a term that another leads (ES)", () => {
    const { send } = nodeA();
    expect(() => {
      send({ type: "timeout-now", from: "a", term: 2 });
    }).toThrow("ES: a sends a timeout-now of term 2, which c leads");
  });
});
