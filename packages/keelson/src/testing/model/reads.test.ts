import { describe, it } from "vitest";

import { withConfig } from "./model-log.ts";
import type { ModelState } from "./model-state.ts";
import {
  acknowledgement,
  allowed,
  committedLeader,
  entries,
  follower,
  forbidden,
  leader,
  log,
  message,
  persisted,
  send,
  take,
} from "./test/nodes.ts";

const READ = { type: "read", id: 7, now: 10_000 } as const;

function answer(index: number | null, id = 7) {
  return take({ reads: [{ id, index }] });
}

/** The leader hands out a heartbeat of this round. */
function round(state: ModelState, number: number): ModelState {
  const { term, commit, log } = state;
  const none = entries(log, log.lastIndex);
  return allowed(
    state,
    send("b", { type: "append-entries", from: "a", term, entries: none, commit, round: number }),
  );
}

describe("a leader's answer to a read", () => {
  it("follows a round that began after the read arrived, and that a majority has answered (6.4)", () => {
    const asked = allowed(committedLeader(), READ);
    allowed(asked, answer(null));
    forbidden(asked, answer(4), {}, /no majority has confirmed/);
    const confirmed = allowed(round(asked, 1), acknowledgement("b", 4, 1));
    allowed(confirmed, answer(4));
    forbidden(confirmed, answer(4, 8), {}, /no majority has confirmed/);
    const before = allowed(round(committedLeader(), 1), READ);
    forbidden(allowed(before, acknowledgement("b", 4, 1)), answer(4), {}, /no majority has confirmed/);
  });

  it("is at least the commit index at its arrival and at most the present one (6.4)", () => {
    const confirmed = allowed(round(allowed(committedLeader(), READ), 1), acknowledgement("b", 4, 1));
    forbidden(confirmed, answer(3), {}, /allowed: 4 to 4/);
    forbidden(confirmed, answer(5), {}, /allowed: 4 to 4/);
  });

  it("waits until an entry of its own term is committed (§8)", () => {
    const asked = allowed(leader({ commit: 3 }), READ);
    const confirmed = allowed(round(asked, 1), acknowledgement("b", 3, 1));
    forbidden(confirmed, answer(3), {}, /no majority has confirmed/);
  });

  it("goes to the node that passed the read on, once for each copy", () => {
    const readIndex = message({ type: "read-index", from: "c", term: 3, id: 9 });
    const asked = allowed(allowed(committedLeader(), readIndex), readIndex);
    const reply = send("c", { type: "read-index-reply", from: "a", term: 3, id: 9, index: 4 });
    forbidden(asked, reply, {}, /no majority has confirmed/);
    const confirmed = allowed(round(asked, 1), acknowledgement("b", 4, 1));
    const twice = allowed(allowed(confirmed, reply), reply);
    forbidden(twice, reply, {}, /no majority has confirmed/);
    const other = send("b", { type: "read-index-reply", from: "a", term: 3, id: 9, index: 4 });
    forbidden(confirmed, other, {}, /no majority has confirmed/);
  });
});

describe("a follower's answer to a read", () => {
  it("is what a leader answered (6.4)", () => {
    const asked = allowed(follower({ commit: 3 }), READ);
    forbidden(asked, answer(3), {}, /no majority has confirmed/);
    const told = allowed(asked, message({ type: "read-index-reply", from: "b", term: 2, id: 7, index: 3 }));
    allowed(told, answer(3));
    forbidden(told, answer(2), {}, /no majority has confirmed/);
  });
});

describe("a lease read", () => {
  const lease = (index: number, now = 10_100) => ({ type: "lease-read", answer: index, now }) as const;
  const heard = () => allowed(round(committedLeader(), 1), acknowledgement("b", 4, 1));

  it("is answered while a majority can't help to elect another leader (6.4.1)", () => {
    allowed(heard(), lease(4, 10_399));
    allowed(heard(), { ...lease(4), answer: null, now: 20_000 });
    forbidden(heard(), lease(4, 10_400), {}, /without a lease/);
    forbidden(round(committedLeader(), 1), lease(4), {}, /without a lease/);
    const drifting = heard();
    const settings = { ...drifting.settings, clockDriftMax: 0.05 };
    forbidden({ ...drifting, settings }, lease(4, 10_363), {}, /without a lease/);
  });

  it("needs no round of a sole voter", () => {
    const alone = withConfig(log([1]), 2, { voters: ["a"], outgoingVoters: [], learners: ["b"] });
    const sole = allowed(leader({ log: alone }), persisted(2), { commit: 4 });
    allowed(sole, lease(4, 90_000));
  });

  it("is kept when the configuration changes", () => {
    const target = { voters: ["a", "d", "e"], outgoingVoters: [], learners: [] };
    const joint = { ...target, outgoingVoters: ["a", "b", "c"] };
    const before = heard();
    const change = { type: "change", target, answer: { index: 5, term: 3 }, now: 10_000 } as const;
    const changed = allowed(before, change, { log: withConfig(before.log, 3, joint) });
    allowed(changed, lease(4, 10_399));
    forbidden(changed, lease(4, 10_400), {}, /without a lease/);
  });

  it("is at the commit index of a leader that has committed in its term (§8)", () => {
    forbidden(heard(), lease(3), {}, /reads at 3 under the lease/);
    forbidden(follower({ commit: 3 }), lease(3), {}, /doesn't lead/);
    const young = allowed(round(allowed(leader({ commit: 3 }), persisted(2)), 1), acknowledgement("b", 3, 1));
    forbidden(young, lease(3), {}, /before its term's first commit/);
  });

  it("isn't answered after a TimeoutNow (6.4.1)", () => {
    const asked = allowed(heard(), send("b", { type: "timeout-now", from: "a", term: 3 }));
    forbidden(asked, lease(4), {}, /after it asked for an election/);
  });
});
