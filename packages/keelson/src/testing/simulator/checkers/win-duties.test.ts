import { expect, it } from "vitest";
import type { Actions } from "../../../core/action.ts";
import { configOf } from "../../../core/config.ts";
import type { RaftNode } from "../../../core/node.ts";
import type { Role } from "../../../core/role.ts";
import type { CoreBefore } from "./duty.ts";
import { WinDuties } from "./win-duties.ts";

/** A node whose role stays what it is, whatever it is given. */
class Watched {
  readonly #core: { id: string; term: number; role: Role; config: RaftNode["config"] };
  readonly #duties: WinDuties;

  constructor(role: Role, config = configOf(["a", "b", "c"])) {
    this.#core = { id: "a", term: 3, role, config };
    this.#duties = new WinDuties(this.#core as unknown as RaftNode);
    this.#duties.stepped({ type: "timeout", now: 0 }, this.#before("follower"), false);
  }

  ownVoteIsTaken(persistId: number): void {
    this.#duties.taken({ persistId, hardState: { term: 3, votedFor: "a" } } as Actions);
  }

  persisted(persistId: number): void {
    this.#duties.stepped({ type: "persisted", persistId, now: 0 }, this.#before(), false);
  }

  vote(from: string): void {
    const message = { type: "request-vote-reply", from, term: 3, granted: true } as const;
    this.#duties.stepped({ type: "message", message, now: 0 }, this.#before(), false);
  }

  preVote(from: string, round: number, isStalled = false): void {
    const message = { type: "pre-vote-reply", from, term: 3, granted: true, round } as const;
    this.#duties.stepped({ type: "message", message, now: 0 }, this.#before(), isStalled);
  }

  timeout(): void {
    this.#duties.stepped({ type: "timeout", now: 0 }, this.#before(), false);
  }

  asked(round: number): void {
    this.#duties.asked(round);
  }

  #before(role: Role = this.#core.role): CoreBefore {
    return { term: 3, votedFor: null, role, leader: null, now: 0 };
  }
}

it("reports a candidate that has a quorum of votes, its own durable one included, and doesn't lead (DUTY)", () => {
  const node = new Watched("candidate");
  node.ownVoteIsTaken(7);
  node.vote("b");
  node.persisted(6);
  expect(() => {
    node.persisted(7);
  }).toThrow("DUTY: a has the votes of a quorum in term 3, and doesn't lead");
});

it("counts an outgoing voter's own vote in the majority of the old voters", () => {
  const joint = { ...configOf(["b", "c"]), outgoingVoters: ["a", "b"] };
  const node = new Watched("candidate", joint);
  node.ownVoteIsTaken(7);
  node.persisted(7);
  node.vote("b");
  expect(() => {
    node.vote("c");
  }).toThrow("DUTY");
});

it("reports a node that has the pre-votes of a quorum in its last round, and doesn't stand (DUTY)", () => {
  const node = new Watched("pre-candidate");
  node.asked(5);
  node.preVote("b", 4);
  node.preVote("b", 5, true);
  expect(() => {
    node.preVote("b", 5);
  }).toThrow("DUTY: a has the pre-votes of a quorum in round 5, and doesn't stand");
});

it("counts no late answer to the round before, when the messages of the next weren't taken yet", () => {
  const node = new Watched("pre-candidate");
  node.asked(5);
  node.timeout();
  node.preVote("b", 5);
  node.asked(6);
  node.preVote("b", 5);
  expect(() => {
    node.preVote("b", 6);
  }).toThrow("DUTY");
});
