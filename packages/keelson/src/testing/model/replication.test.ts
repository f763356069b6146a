import { describe, it } from "vitest";

import { prefix, withConfig, withEntries, type ModelLog } from "./model-log.ts";
import {
  ABC,
  allowed,
  committedLeader,
  entries,
  follower,
  following,
  forbidden,
  leader,
  log,
  message,
  timeout,
} from "./test/nodes.ts";

/** AppendEntries of b, the leader of term 2, whose log this is. */
function append(of: ModelLog, prevIndex: number, commit = 0) {
  return message({
    ...{ type: "append-entries", from: "b", term: 2, commit, round: 0 },
    entries: entries(of, prevIndex),
  });
}

function offer(index: number, term: number) {
  const last = { index, term };
  return message({ type: "install-snapshot", from: "b", term: 2, last, config: ABC, round: 0 });
}

function installed(index: number, term: number) {
  return { type: "installed", position: { index, term }, config: ABC, now: 10_000 } as const;
}

const B = { leader: "b" } as const;

describe("a follower's log", () => {
  const own = log([1, 1, 2]);
  const leaders = log([1, 2, 2, 2]);

  it("takes the entries that it lacks, all or none, or refuses (§5.3)", () => {
    const longer = withEntries(own, 2, 2);
    allowed(follower({ log: own }), append(longer, 4), { ...B, log: longer });
    allowed(follower({ log: own }), append(longer, 4), B);
    allowed(follower({ log: own }), append(longer, 2), { ...B, log: longer });
    forbidden(follower({ log: own }), append(longer, 4), { ...B, log: withEntries(own, 2, 1) }, /the log is/);
    forbidden(follower({ log: own }), timeout(), { log: longer }, /the log is/);
  });

  it("takes nothing after an entry that it doesn't hold (Figure 2, AppendEntries 2)", () => {
    const gap = log([1, 2, 2, 2]);
    forbidden(follower({ log: own }), append(gap, 3), { ...B, log: gap }, /the log is/);
  });

  it("loses only the first entry that conflicts and those after it (Figure 2, AppendEntries 3)", () => {
    allowed(follower({ log: own }), append(leaders, 2), { ...B, log: leaders });
    forbidden(follower({ log: own }), append(leaders, 2), { ...B, log: prefix(own, 2) }, /the log is/);
    // A message that arrives late names only entries that are there, and removes none of those after them.
    const late = append(prefix(own, 3), 1);
    allowed(follower({ log: own }), late, B);
    forbidden(follower({ log: own }), late, { ...B, log: prefix(own, 3) }, /the log is/);
  });

  it("holds the very entries and configurations of the message (§5.3, §6)", () => {
    const changed = withConfig(own, 2, { ...ABC, learners: ["d"] });
    const message = append(changed, 4);
    allowed(follower({ log: own }), message, { ...B, log: changed });
    forbidden(follower({ log: own }), message, { ...B, log: withEntries(own, 2, 1) }, /allowed is/);
    const configs = [...own.configs, { index: 5, config: { ...ABC, learners: ["e"] } }];
    forbidden(follower({ log: own }), message, { ...B, log: { ...changed, configs } }, /allowed is/);
    const runs = [
      { index: 1, term: 1 },
      { index: 3, term: 2 },
    ];
    forbidden(follower({ log: own }), message, { ...B, log: { ...changed, runs } }, /allowed is/);
  });

  it("tells with its last configuration which one is in force, committed or not (§6)", () => {
    const config = { ...ABC, learners: ["d"] };
    const changed = withConfig(own, 2, config);
    allowed(follower({ log: own }), append(changed, 4), { ...B, log: changed, config });
    const text = /acts on {a b c}, not on its log's {a b c, learners d}/;
    forbidden(follower({ log: own }), append(changed, 4), { ...B, log: changed, config: ABC }, text);
    const cut = follower({ log: withConfig(log([1, 1, 1]), 1, config) });
    allowed(cut, append(leaders, 2), { ...B, log: leaders });
    forbidden(cut, append(leaders, 2), { ...B, log: leaders, config }, /acts on {a b c, learners d}/);
  });

  it("holds what it held where nothing was sent for it (§5.3)", () => {
    const longer = withEntries(own, 2, 1);
    const changed = { ...own, configs: [] };
    forbidden(follower({ log: own }), append(longer, 4), { ...B, log: changed }, /allowed is/);
  });

  it("never loses a committed entry (§5.4)", () => {
    allowed(follower({ log: own, commit: 2 }), append(leaders, 2), { ...B, log: leaders });
    const text = /removes entries from 3, and 3 is committed/;
    forbidden(follower({ log: own, commit: 3 }), append(leaders, 2), { ...B, log: leaders }, text);
  });
});

describe("a snapshot", () => {
  const own = log([1, 1, 2]);

  it("leaves the entries after it if the log holds its last entry, and otherwise none (Figure 13)", () => {
    const kept = { ...own, base: { index: 2, term: 1 }, baseConfig: { index: 2, config: ABC } };
    const after = {
      ...kept,
      runs: [
        { index: 3, term: 1 },
        { index: 4, term: 2 },
      ],
      configs: [],
    };
    const reset = { ...after, runs: [], lastIndex: 2 };
    allowed(follower({ log: own }), installed(2, 1), { commit: 2, log: after });
    forbidden(follower({ log: own }), installed(2, 1), { commit: 2, log: reset }, /the log is/);
    allowed(follower({ log: own }), installed(2, 2), {
      commit: 2,
      log: { ...reset, base: { index: 2, term: 2 } },
    });
    const wrong = { ...after, base: { index: 2, term: 2 } };
    forbidden(follower({ log: own }), installed(2, 2), { commit: 2, log: wrong }, /the log is/);
  });

  it("never replaces committed entries that it doesn't cover (§5.4)", () => {
    const reset = {
      base: { index: 2, term: 2 },
      baseConfig: { index: 2, config: ABC },
      runs: [],
      configs: [],
    };
    const changes = { commit: 3, log: { ...reset, lastIndex: 2 } };
    forbidden(follower({ log: own, commit: 3 }), installed(2, 2), changes, /and 3 is committed/);
  });

  it("of the leader tells that what it covers is committed (§7)", () => {
    allowed(follower({ log: own }), offer(3, 1), { ...B, commit: 3 });
    forbidden(follower({ log: own }), offer(3, 2), { ...B, commit: 3 }, /the commit index rises to 3/);
  });

  it("of the node itself lets the log begin later, and changes nothing else", () => {
    const shorter = {
      ...{ base: { index: 2, term: 1 }, baseConfig: { index: 1, config: ABC }, configs: [], lastIndex: 4 },
      runs: [
        { index: 3, term: 1 },
        { index: 4, term: 2 },
      ],
    };
    const compacted = { type: "compacted", index: 2, now: 0 } as const;
    allowed(follower({ log: own }), compacted, { log: shorter });
    forbidden(
      follower({ log: own }),
      compacted,
      { log: { ...shorter, base: { index: 1, term: 1 } } },
      /the log/,
    );
  });
});

describe("a follower's commit index", () => {
  const own = log([1, 1, 2]);
  const heard = (commit: number) => append(prefix(own, 3), 1, commit);

  it("is at most the leader's, and what was compared with its log (Figure 2, AppendEntries 5)", () => {
    allowed(follower({ log: own }), heard(4), { ...B, commit: 3 });
    forbidden(follower({ log: own }), heard(4), { ...B, commit: 4 }, /rises to 4 on a message/);
    allowed(follower({ log: own }), heard(2), { ...B, commit: 2 });
    forbidden(follower({ log: own }), heard(2), { ...B, commit: 3 }, /rises to 3 on a message/);
    const longer = append(log([1, 1, 2, 2, 2]), 5, 9);
    forbidden(follower({ log: own }), longer, { ...B, commit: 4 }, /rises to 4 on a message/);
  });

  it("never falls (Figure 2)", () => {
    forbidden(follower({ log: own, commit: 3 }), heard(2), { ...B, commit: 2 }, /falls to 2/);
  });

  it("may come with the answer to a read, as far as the log was compared", () => {
    const before = allowed(following({ log: own }), append(prefix(own, 3), 1));
    const answer = (term: number) => message({ type: "read-index-reply", from: "b", term, id: 1, index: 4 });
    allowed(before, answer(2), { commit: 3 });
    forbidden(before, answer(2), { commit: 4 }, /rises to 4/);
    forbidden(before, answer(3), { commit: 3 }, /rises to 3/);
  });
});

describe("commands", () => {
  const propose = (index: number) =>
    ({ type: "propose", count: 1, answer: { index, term: 3 }, now: 10_000 }) as const;

  it("are appended by leaders only, each as one entry of its term (§5.3)", () => {
    const before = leader();
    const longer = withEntries(before.log, 3, 1);
    allowed(before, propose(5), { log: longer });
    allowed(before, { ...propose(5), answer: null });
    forbidden(before, propose(5), { log: withEntries(before.log, 3, 2) }, /the log is/);
    forbidden(
      follower(),
      propose(4),
      { log: withEntries(log([1, 2]), 2, 1) },
      /takes a propose and doesn't lead/,
    );
  });

  it("are refused during a transfer, and by a leader without a vote (3.10, §6)", () => {
    const before = committedLeader();
    const transfers = allowed(
      before,
      { type: "transfer", to: null, answer: "nobody", now: 10_000 },
      { transferTarget: "b" },
    );
    const longer = withEntries(before.log, 3, 1);
    forbidden(transfers, propose(5), { log: longer }, /during a transfer/);
    const removed = leader({ log: withConfig(log([1]), 2, { ...ABC, voters: ["b"] }) });
    forbidden(removed, propose(5), { log: withEntries(removed.log, 3, 1) }, /has no vote/);
  });
});
