// Callers' changes of the membership and transfers of leadership: run on this node if it leads, and made at
// the leader otherwise.
import { MEMBERS_MAX, NODE_ID_PATTERN } from "../../codec/config.ts";
import type { MembershipChangeRequest } from "../../codec/frame-runtime-message.ts";
import type { RaftNode } from "../../core/node.ts";
import type { NodeId } from "../../core/position.ts";
import { InvalidOptionError, OutcomeUnknownError } from "../../errors.ts";
import type { CallOptions, CallRegistry, ForwardableCall, LeaderCalls } from "../calls/index.ts";
import { checkId } from "../shared/index.ts";
import { checkAddress } from "./addresses.ts";
import type { LeadershipTransfers } from "./leadership-transfers.ts";
import type { MembershipChanges } from "./membership-changes.ts";
import type { MembershipChange } from "./next-membership.ts";

export interface MembershipCallsParts {
  readonly core: Pick<RaftNode, "role">;
  readonly calls: CallRegistry;
  readonly membershipChanges: MembershipChanges;
  readonly transfers: LeadershipTransfers;
  readonly leaderCalls: LeaderCalls;
  /** Why calls aren't forwarded to another node that leads; null: they are. */
  readonly forwardRefusal: string | null;
  /** The time limit of changes that name none, in milliseconds. */
  readonly changeTimeoutMs: number;
}

/**
 * What `Raft` calls for changes of the membership and transfers. A change that a node which doesn't lead has
 * sent to the leader, and that went unanswered, is repeated at the leader of a later term: it states which
 * members there should be, so a second one adds nothing (`membershipAfter`). A transfer is not repeated: it
 * would take the leadership away from a node that has just got it.
 */
export class MembershipCalls {
  readonly #parts: MembershipCallsParts;

  constructor(parts: MembershipCallsParts) {
    this.#parts = parts;
  }

  async addLearner(id: NodeId, address: string, options: CallOptions): Promise<void> {
    const { membershipChanges } = this.#parts;
    if (this.#leads) return membershipChanges.addLearner(id, address, options);
    this.#parts.calls.check(options);
    checkId("a member's id", id);
    checkAddress(id, address);
    return this.#forward(options, {
      request: { type: "add-learner", id, address },
      isRepeatable: true,
      mayUndo: true,
      decodeReply: () => undefined,
      runHere: (rest) => membershipChanges.addLearner(id, address, rest),
    });
  }

  async change(change: MembershipChange, options: CallOptions): Promise<void> {
    const { membershipChanges } = this.#parts;
    if (this.#leads) return membershipChanges.change(change, options);
    this.#parts.calls.check(options);
    const request = requestOf(change);
    return this.#forward(options, {
      request: { type: "change-membership", change: request },
      isRepeatable: true,
      mayUndo: true,
      decodeReply: () => undefined,
      runHere: (rest) => membershipChanges.change(request, rest),
    });
  }

  async transfer(to: NodeId | null, options: CallOptions): Promise<NodeId> {
    const { transfers, calls, leaderCalls, forwardRefusal: refusal } = this.#parts;
    if (this.#leads) return transfers.transfer(to, options);
    calls.check(options);
    if (to !== null) checkId("the next leader", to);
    const forwardable: ForwardableCall<NodeId> = {
      request: { type: "transfer-leadership", to },
      payload: NO_COMMAND,
      isRepeatable: false,
      refusal,
      decodeReply: (_index, payload) => leaderIn(payload),
      runHere: (rest) => transfers.transfer(to, rest),
    };
    return leaderCalls.forward(forwardable, options);
  }

  get #leads(): boolean {
    return this.#parts.core.role === "leader";
  }

  #forward(options: CallOptions, call: Omit<ForwardableCall<void>, "payload" | "refusal">): Promise<void> {
    const { leaderCalls, forwardRefusal: refusal, changeTimeoutMs: timeoutMs } = this.#parts;
    return leaderCalls.forward({ ...call, payload: NO_COMMAND, refusal }, { timeoutMs, ...options });
  }
}

/**
 * The change as it is sent to the leader, which has its own checks.
 *
 * @throws InvalidOptionError it can't be sent
 */
function requestOf(change: MembershipChange): MembershipChangeRequest {
  const { add = {}, remove = [], promote = [], demote = [], addresses = {} } = change;
  for (const [id, address] of [...Object.entries(add), ...Object.entries(addresses)]) {
    checkId("a member's id", id);
    checkAddress(id, address);
  }
  for (const id of [...remove, ...promote, ...demote]) checkId("a member's id", id);
  for (const part of [remove, promote, demote]) {
    const twice = part.find((id, at) => part.indexOf(id) !== at);
    if (twice !== undefined) throw new InvalidOptionError(`${twice} is named twice in one change`);
  }
  for (const part of [Object.keys(add), remove, promote, demote, Object.keys(addresses)]) {
    if (part.length <= MEMBERS_MAX) continue;
    throw new InvalidOptionError(
      `the change names ${String(part.length)} members; a cluster has at most ${String(MEMBERS_MAX)}`,
    );
  }
  return { add, remove: [...remove], promote: [...promote], demote: [...demote], addresses };
}

function leaderIn(payload: Uint8Array): NodeId {
  const id = new TextDecoder().decode(payload);
  if (NODE_ID_PATTERN.test(id)) return id;
  throw new OutcomeUnknownError("leadership was handed over, and the reply doesn't name the next leader");
}

const NO_COMMAND = new Uint8Array(0);
