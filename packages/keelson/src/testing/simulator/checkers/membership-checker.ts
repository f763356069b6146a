import type { ClusterConfig } from "../../../core/config.ts";
import type { NodeId } from "../../../core/position.ts";
import type { MembershipChange } from "../../../runtime/members/index.ts";
import type { SeenConfig } from "./cluster-history.ts";
import { assertInvariant } from "./violation.ts";
import { showConfig } from "./votes.ts";

/**
 * Compares each committed configuration with the one before it.
 *
 * - CFG: a member comes, goes, or gets or loses its vote only as a caller asked for it. A change that is made
 *   from an older membership than the one in force would take back what another leader's change did (M21).
 */
export class MembershipChecker {
  /** What callers have asked for so far: "join n4", "leave n4", "promote n4", "demote n4". */
  readonly #asked = new Set<string>();

  /** Notes the change that a caller asks a node for: its moves are allowed from now on. */
  asked({ add = {}, remove = [], promote = [], demote = [] }: MembershipChange): void {
    const note = (what: Move, ids: readonly NodeId[]): void => {
      for (const id of ids) this.#asked.add(`${what} ${id}`);
    };
    note("join", Object.keys(add));
    note("promote", Object.keys(add));
    note("leave", remove);
    note("promote", promote);
    note("demote", demote);
  }

  /** Notes that a caller asks a node to add this learner: from now on it may join. */
  askedForLearner(id: NodeId): void {
    this.#asked.add(`join ${id}`);
  }

  /**
   * Checks that a caller asked for each move from `before`, the last committed configuration, to this one,
   * which is committed now. Null: there is no configuration yet.
   */
  committed(now: SeenConfig | null, before: SeenConfig | null): void {
    if (now === null || before === null || now.index === before.index) return;
    for (const [what, id] of movesBetween(before.membership.config, now.membership.config)) {
      assertInvariant(
        this.#asked.has(`${what} ${id}`),
        "CFG",
        () =>
          `nobody asked that ${id} should ${what}: ${showConfig(now.membership.config)} follows ` +
          showConfig(before.membership.config),
      );
    }
  }
}

type Move = "join" | "leave" | "promote" | "demote";

/** In a joint configuration, `voters` and `learners` already are those of C_new. */
function movesBetween(before: ClusterConfig, now: ClusterConfig): [Move, NodeId][] {
  const old = partsOf(before);
  const parts = partsOf(now);
  const moves: [Move, NodeId][] = [];
  for (const [id, isVoter] of parts) {
    const wasVoter = old.get(id);
    if (wasVoter === undefined) moves.push(["join", id]);
    if (isVoter && wasVoter !== true) moves.push(["promote", id]);
    if (!isVoter && wasVoter === true) moves.push(["demote", id]);
  }
  for (const id of old.keys()) if (!parts.has(id)) moves.push(["leave", id]);
  return moves;
}

/** Each member, and whether it has a vote once the configuration isn't joint any more. */
function partsOf({ voters, learners }: ClusterConfig): Map<NodeId, boolean> {
  return new Map([...learners.map((id) => [id, false] as const), ...voters.map((id) => [id, true] as const)]);
}
