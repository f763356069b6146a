import { describe, it, expect } from "vitest";

import { checkRestart } from "./durability.ts";
import { withEntries, type ModelLog } from "./model-log.ts";
import { configOf, type ClusterConfig } from "../../core/config.ts";
import { started, type ModelState, type Seen } from "./model-state.ts";
import {
  ABC,
  allowed,
  campaigning,
  entries,
  follower,
  forbidden,
  log,
  message,
  persisted,
  take,
  timeout,
} from "./test/nodes.ts";

const OWN = log([1, 1, 2]);

/** Node a has taken these entries from b, the leader of term 2, which end its log. */
function received(of: ModelLog, prevIndex: number, own = OWN): ModelState {
  const append = message({
    ...{ type: "append-entries", from: "b", term: 2, commit: 0, round: 0 },
    entries: entries(of, prevIndex),
  });
  return allowed(follower({ log: own }), append, { leader: "b", log: of });
}

const LONGER = withEntries(OWN, 2, 2);
const OLD = log([1, 1, 1]);
const OTHER = log([1, 2, 2]);

function write(truncateFrom: number | null, from: number, to: number, persistId = 1) {
  return take({ persistId, append: { truncateFrom, from, to }, needsPersist: true });
}

describe("a batch", () => {
  it("saves the term and the vote (Figure 2)", () => {
    const hardState = { term: 3, votedFor: "a" };
    allowed(campaigning(), take({ hardState, needsPersist: true }));
    forbidden(campaigning(), take({}), {}, /unsaved/);
    forbidden(
      campaigning(),
      take({ hardState: { term: 3, votedFor: null }, needsPersist: true }),
      {},
      /unsaved/,
    );
    forbidden(campaigning(), take({ hardState }), {}, /isn't to be persisted/);
  });

  it("writes every entry, once (Figure 2)", () => {
    const before = received(LONGER, 4);
    const after = allowed(before, write(null, 5, 7));
    allowed(after, take({}));
    forbidden(before, take({}), {}, /to write are \(4, 6\]/);
    forbidden(before, write(null, 5, 6), {}, /to write are \(4, 6\]/);
    forbidden(before, write(null, 6, 7), {}, /to write are \(4, 6\]/);
    forbidden(after, write(null, 5, 7), {}, /to write are \(6, 6\]/);
  });

  it("removes what the stored log holds in conflict (§5.3)", () => {
    const before = received(OTHER, 2, OLD);
    allowed(before, write(3, 3, 5));
    forbidden(before, write(null, 3, 5), {}, /the stored log ends at 4/);
    allowed(received(LONGER, 4), write(5, 5, 7));
    forbidden(received(LONGER, 4), write(4, 5, 7), {}, /removes from 4/);
  });

  it("reports the entry at the commit index, and no other", () => {
    const before = follower({ commit: 2 });
    allowed(before, take({ commit: { index: 2, term: 1 } }));
    forbidden(before, take({ commit: { index: 3, term: 2 } }), {}, /reports 3 as committed/);
    forbidden(before, take({ commit: { index: 2, term: 2 } }), {}, /reports 2 as committed/);
  });
});

describe("what a node holds to be durable", () => {
  it("was reported, with all that was handed out before it", () => {
    const taken = allowed(received(LONGER, 4), write(null, 5, 7));
    forbidden(taken, timeout(), { durable: 6 }, /holds 6 to be durable; reported are 4/);
    allowed(taken, persisted(1), { durable: 6 });
    forbidden(taken, persisted(0), { durable: 6 }, /reported are 4/);
  });

  it("isn't what was overwritten since, or what is to be written over it", () => {
    const before = received(OTHER, 2, OLD);
    forbidden(before, timeout(), { durable: 3 }, /reported are 2/);
    const taken = allowed(before, write(3, 3, 5));
    forbidden(taken, timeout(), { durable: 4 }, /reported are 2/);
    allowed(taken, persisted(1), { durable: 4 });
  });

  it("isn't the old log that a snapshot has replaced (§7)", () => {
    const position = { index: 2, term: 2 };
    const install = { type: "installed", position, config: ABC, now: 0 } as const;
    const reset = {
      base: position,
      baseConfig: { index: 2, config: ABC },
      runs: [],
      configs: [],
      lastIndex: 2,
    };
    allowed(follower({ log: OWN }), install, { commit: 2, log: reset, durable: 2 });
    forbidden(follower({ log: OWN }), install, { commit: 2, log: reset, durable: 4 }, /reported are 2/);
  });
});

describe("a restart", () => {
  it("binds the node to a leader it may have heard, unless it votes alone (dissertation 6.4.1)", () => {
    const { id, settings, now } = follower();
    const seen = { term: 2, votedFor: null, role: "follower", leader: null, commit: 0 } as const;
    const heardAt = (config: ClusterConfig): number =>
      started(id, settings, seen as unknown as Seen, log([1, 2], config), now).leaderHeardAt;
    expect(heardAt(ABC)).toBe(now);
    expect(heardAt(configOf(["a"]))).toBe(-Infinity);
    expect(heardAt(configOf(["b"]))).toBe(now);
    expect(heardAt({ ...configOf(["a"]), outgoingVoters: ["a", "b"] })).toBe(now);
  });

  const before = allowed(received(LONGER, 4), write(null, 5, 7));
  const restart = (changes: Parameters<typeof follower>[0], of = before) => {
    checkRestart(of, follower(changes));
  };

  it("finds the term and the vote that were durable (Figure 2)", () => {
    restart({ log: OWN });
    restart({ log: OWN, term: 3 });
    expect(() => {
      restart({ log: OWN, term: 1 });
    }).toThrow(/term 2 or its vote/);
    const voted = { ...before, disk: { ...before.disk, hardState: { term: 2, votedFor: "b" } } };
    expect(() => {
      restart({ log: OWN }, voted);
    }).toThrow(/its vote for b was durable and is lost/);
  });

  it("finds the entries that were durable, and perhaps those of a write under way (Figure 2)", () => {
    restart({ log: LONGER });
    expect(() => {
      restart({ log: log([1, 1]) });
    }).toThrow(/the entry 4 was durable and is lost/);
    const durable = allowed(before, persisted(1));
    expect(() => {
      restart({ log: OWN }, durable);
    }).toThrow(/the entry 6 was durable and is lost/);
  });
});
