/**
 * Creates the cluster of the option `members`, on nodes that have no log yet.
 *
 * The hazard: a program gives the same options at every start, also after its disk was lost. If members with
 * empty directories simply called `initialize`, a majority of them would form a cluster with the id of the
 * one that they have forgotten, elect a leader without its entries, and serve an empty state, while the
 * members that still hold the entries are down or are refused (M11).
 *
 * The rule: a node creates the cluster only after every other first member has consented in one round of
 * questions. A member that has taken part in an election, or has more than the first entry, doesn't consent
 * (`refusalOfCreation`), nor does one whose log names another store of the node that asks
 * (`MemberDirectory.refusalOf`). So as long as one member has a log, no cluster forms without it, whether
 * that member is up or not. Nodes that are new consent, unless they were opened with other members. Asking
 * binds nobody, so one node's mistyped list leaves no trace on the others.
 *
 * The cost: a new cluster begins only once all of its first members have been up at the same time, while
 * `initialize` on one node is enough without that. It is enough that one of them gets all the answers: the
 * others join as it reaches them.
 *
 * The limit: if all disks but those of members that never heard of an election are lost, nobody is left to
 * object.
 */
import type { ComponentLog } from "../../log-event.ts";
import type { Environment, Timer } from "../../environment/environment.ts";
import { beganWith } from "../../codec/cluster-id.ts";
import type { RaftNode } from "../../core/node.ts";
import type { NodeId } from "../../core/position.ts";
import { InvalidOptionError, RaftError } from "../../errors.ts";
import type { InquiryAnswer, Transport } from "../../transport/transport.ts";
import type { MembershipHistory } from "../members/index.ts";
import { reasonOf } from "../shared/index.ts";
import type { ClusterBootstrap } from "./cluster-bootstrap.ts";
import type { PlannedCluster } from "./first-membership.ts";

const VOTED =
  "this node has voted in an election of the cluster, and waits for the members that it elected. If their disks are " +
  "lost, empty this node's directory too";

/** The term of a cluster's first entry. Elections are held in later ones. */
const FIRST_TERM = 1;

/**
 * What the cluster waits for is logged only if it still waits after this many milliseconds. While all nodes
 * start, some don't answer yet, and a late one may hear that the cluster exists a moment before a member
 * connects to it: neither needs an operator.
 */
const REPORT_AFTER_MS = 1000;

/**
 * The pause after a round of questions in which not all consented, in milliseconds. It doubles with each
 * round, from `PAUSE_MS_MIN` up to `PAUSE_MS_MAX`.
 */
const PAUSE_MS_MIN = 100;
const PAUSE_MS_MAX = 1000;

export interface ClusterFormationParts {
  /** The cluster of the option `members`. */
  readonly planned: PlannedCluster;
  readonly core: RaftNode;
  readonly memberships: MembershipHistory;
  readonly environment: Environment;
  readonly transport: Transport;
  readonly bootstrap: ClusterBootstrap;
  readonly log: ComponentLog;
}

const SILENCE: InquiryAnswer = { type: "silence" };

/** What one member said. */
interface MemberAnswer {
  readonly id: NodeId;
  readonly address: string;
  readonly answer: InquiryAnswer;
}

/** See the file's header. */
export class ClusterFormation {
  readonly #parts: ClusterFormationParts;
  /** The other first members. */
  readonly #others: readonly (readonly [id: NodeId, address: string])[];
  /** What the cluster waits for, for people; null: nothing, or nothing was asked yet. */
  #waitingFor: string | null = null;
  /** What was last logged of it. */
  #reported: string | null = null;
  /** Time in milliseconds at which the first question was asked; set by `start`. */
  #startedAt = 0;
  #timer: Timer | null = null;
  /** Set by `stop`, never reset. */
  #isStopped = false;

  constructor(parts: ClusterFormationParts) {
    this.#parts = parts;
    this.#others = Object.entries(parts.planned.members).filter(([id]) => id !== parts.core.id);
  }

  /** The id of the cluster that this node creates if it has no log yet. */
  get plannedClusterId(): string {
    return this.#parts.planned.clusterId;
  }

  /** What the creation of the cluster waits for, for people; null: nothing. */
  get waitingFor(): string | null {
    return this.#waitingFor;
  }

  /** The transport listens: asks the other members if this node has no log yet. */
  start(): void {
    this.#startedAt = this.#parts.environment.now();
    if (this.#isNew) void this.#round(PAUSE_MS_MIN);
    else this.#compare();
  }

  stop(): void {
    this.#isStopped = true;
    this.#waitingFor = null;
    this.#timer?.cancel();
  }

  get #self(): { readonly id: NodeId; readonly address: string } {
    const { core, planned } = this.#parts;
    return { id: core.id, address: planned.members[core.id] ?? "" };
  }

  /** Whether the log is empty; otherwise the node is in a cluster, whoever created it. */
  get #isNew(): boolean {
    return this.#parts.core.log.last.index === 0;
  }

  /** Asks all others once, and creates the cluster if they consent; otherwise asks again after a pause. */
  async #round(pauseMs: number): Promise<void> {
    const { bootstrap, environment, transport, planned } = this.#parts;
    if (this.#hasJoined()) return;
    const answers = await Promise.all(
      this.#others.map(async ([id, address]): Promise<MemberAnswer> => {
        try {
          const answer = await transport.inquireAt?.(id, address, planned.clusterId);
          return { id, address, answer: answer ?? SILENCE };
        } catch {
          // A transport that fails to ask has no answer either. It is asked again.
          return { id, address, answer: SILENCE };
        }
      }),
    );
    if (this.#isStopped || this.#hasJoined()) return;
    if (hasHistory(this.#parts.core)) {
      // Its vote may have elected a leader whose entries are on other disks only.
      answers.push({ ...this.#self, answer: { type: "refusal", reason: VOTED } });
    }
    const missing = answers.filter(({ answer }) => answer.type !== "consent");
    if (missing.length === 0) {
      try {
        await bootstrap.initialize(planned.members);
        this.#created();
      } catch (error) {
        this.#failed(error);
      }
      return;
    }
    this.#report(missing);
    this.#timer = environment.setTimer(pauseMs, () => {
      void this.#round(Math.min(2 * pauseMs, PAUSE_MS_MAX));
    });
  }

  /** Whether a cluster has reached this node meanwhile: it takes part in that one. */
  #hasJoined(): boolean {
    const { bootstrap, log, planned } = this.#parts;
    const { clusterId } = bootstrap;
    if (this.#isNew && (clusterId === null || clusterId === planned.clusterId)) return false;
    this.#waitingFor = null;
    if (clusterId !== null && clusterId !== planned.clusterId) {
      log("warn", `the option members has no effect: this node was taken into cluster ${clusterId}`);
    }
    return true;
  }

  #created(): void {
    const { log, planned } = this.#parts;
    this.#waitingFor = null;
    log("info", `the cluster of ${listOf(Object.entries(planned.members))} is created`, {
      clusterId: planned.clusterId,
    });
  }

  /** A node that stopped, or was taken into another cluster in the same moment, reports that itself. */
  #failed(error: unknown): void {
    this.#waitingFor = null;
    if (this.#isStopped || (error instanceof RaftError && error.code === "CLOSED")) return;
    this.#parts.log("warn", `the cluster could not be created: ${reasonOf(error)}`, { error });
  }

  /** Says what the cluster waits for; in the log, once for each change of it. */
  #report(missing: readonly MemberAnswer[]): void {
    const reasons = missing.map(({ id, address, answer }) =>
      answer.type === "refusal"
        ? `${id} at ${address} refuses: ${answer.reason}`
        : `${id} at ${address} doesn't answer`,
    );
    const text = reasons.join("; ");
    this.#waitingFor = text;
    if (text === this.#reported) return;
    if (this.#parts.environment.now() - this.#startedAt < REPORT_AFTER_MS) return;
    this.#reported = text;
    this.#parts.log(
      missing.some(({ answer }) => answer.type === "refusal") ? "warn" : "info",
      `this node has an empty log, and creates its cluster once all of the first members agree: ${text}`,
    );
  }

  /**
   * Warns if the option names other members than the cluster has: it is used only once, on nodes without a
   * log.
   */
  #compare(): void {
    const { bootstrap, memberships, planned, log } = this.#parts;
    if (bootstrap.clusterId !== null && beganWith(bootstrap.clusterId, planned.payload)) return;
    const current = [...(memberships.current?.membership.members ?? [])].map(
      ([id, { address }]) => [id, address] as const,
    );
    const given = Object.entries(planned.members);
    if (listOf(current) === listOf(given)) return;
    log(
      "warn",
      `the option members (${listOf(given)}) has no effect: this node is in a cluster already, of ${listOf(current)}. ` +
        "Members and their addresses are changed by changeMembership",
    );
  }
}

/** Members for people, and for comparison: in the order of their ids. */
function listOf(members: readonly (readonly [id: NodeId, address: string])[]): string {
  return members
    .map(([id, address]) => `${id}=${address}`)
    .sort()
    .join(", ");
}

/** Checks that the transport can ask the other members. @throws InvalidOptionError */
export function checkInquiries({ members }: PlannedCluster, transport: Transport): void {
  if (transport.inquireAt !== undefined || Object.keys(members).length === 1) return;
  throw new InvalidOptionError(
    "members needs a transport that has inquireAt: a cluster is created only if all of its first members agree. With " +
      "this transport, call initialize(members) on one of them instead",
  );
}

/**
 * Why a node objects to the creation of the cluster `clusterId` by another node; null: it doesn't. `planned`:
 * the id of the cluster that it wants to create itself; null: none.
 */
export function refusalOfCreation(clusterId: string, core: RaftNode, planned: string | null): string | null {
  if (hasHistory(core)) {
    return (
      "the cluster exists already. It takes in a member that was never started before; one that lost its disk is " +
      "removed, and its machine added under a new id"
    );
  }
  if (core.log.last.index > 0 || planned === null || planned === clusterId) return null;
  return "it was opened with other `members` or another `clusterId`, which must be the same on all first members";
}

/**
 * Whether the cluster of this node may have a leader, or have had one: the node has more than the first
 * entry, or has taken part in an election, also without any entry. The leader may have written what this node
 * doesn't have.
 */
function hasHistory({ log, term }: RaftNode): boolean {
  return log.last.index > 1 || term > Math.max(FIRST_TERM, log.last.term);
}
