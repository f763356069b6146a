// What every event does to every host, worked out once.
import {
  DRAIN,
  HEARTBEAT,
  hostEventOf,
  INSTALL,
  LEASE_ENDS,
  PERSIST,
  STEP_DOWN,
  TIMEOUT,
  TRANSFER_EXPIRES,
  UNANSWERED_HEARTBEAT,
} from "./event-numbers.ts";
import { stepsOf } from "../host/disk.ts";
import { encodeLog } from "../host/entry.ts";
import { encodeHost, signatureOf } from "../host/host-encoding.ts";
import { progressOf, type Host, type HostEvent, type MessageInTransit } from "../host/host-state.ts";
import { leaseIndexOf, step } from "../host/host.ts";
import { renameHost, renameMessage, renamingsOf, type Renaming } from "../host/renaming.ts";
import { keepsConfigs, namesOf, type Bounds } from "../shared/bounds.ts";
import { PairTable } from "../shared/pair-table.ts";
import { encodeHistory, renameHistory, type GroupHistory } from "./group-history.ts";
import { checkStep } from "./invariants.ts";
import { NumberedValues } from "./numbered-values.ts";

/** What the explorer asks about a host so often that it is computed once. */
export interface HostFacts {
  readonly place: number;
  /** Used to order the hosts of a state. Hosts that differ only in names have equal signatures. */
  readonly signature: number;
  readonly leads: boolean;
  readonly term: number;
  readonly commit: number;
  /** The number of the host's log in memory: equal logs have equal numbers. */
  readonly memory: number;
  readonly writes: number;
  /**
   * The events that can happen to the host, without the arrival of messages and without events whose number
   * is limited.
   */
  readonly events: readonly number[];
  /** In how many steps all of the host's writes reach its disk. */
  readonly writeSteps: number;
  /**
   * Whether the host may begin a change of membership (`mayChange`), and whether there is something to take a
   * snapshot of (`maySnapshot`).
   */
  readonly mayChange: boolean;
  readonly maySnapshot: boolean;
  /**
   * Whether the host can install a snapshot now, so that it may also crash after writing it and before
   * telling the core.
   */
  readonly installs: boolean;
  /** Whether the node knows a leader, itself perhaps, to which it can take a client's read. */
  readonly mayRead: boolean;
  /** Whether the host leads, and isn't transferring its leadership already. */
  readonly mayTransfer: boolean;
  /** The index at which the host answers a lease read; null: it doesn't. */
  readonly leaseIndex: number | null;
}

/** A step, as numbers. */
export interface NumberedStep {
  readonly host: number;
  readonly messages: readonly number[];
}

/**
 * Numbers all hosts, messages and histories, and remembers what each event does to each host. The core is a
 * pure function, so the step of a host is computed once, however many states of the group it occurs in. This
 * makes millions of states affordable.
 */
export class StepCache {
  readonly bounds: Bounds;
  readonly renamings: readonly Renaming[];
  /** By renaming: its inverse. */
  readonly inverses: readonly Renaming[];
  readonly hosts: NumberedValues<Host>;
  readonly messages: NumberedValues<MessageInTransit>;
  readonly histories: NumberedValues<GroupHistory>;
  readonly #logs = new Map<string, number>();
  readonly #signatures = new Map<string, number>();
  readonly #facts: HostFacts[] = [];
  readonly #receivers: number[] = [];
  readonly #stepNumbers = new PairTable();
  readonly #steps: NumberedStep[] = [];

  constructor(bounds: Bounds) {
    this.bounds = bounds;
    this.renamings = renamingsOf(bounds.nodes).filter((renaming) => keepsConfigs(bounds, renaming));
    this.inverses = this.renamings.map((renaming) => renaming.map((_, place) => renaming.indexOf(place)));
    this.hosts = new NumberedValues(this.renamings, encodeHost, renameHost);
    this.messages = new NumberedValues(this.renamings, (message) => JSON.stringify(message), renameMessage);
    this.histories = new NumberedValues(this.renamings, encodeHistory, renameHistory);
  }

  get stepCount(): number {
    return this.#steps.length;
  }

  /**
   * The step of a host at an event. Each step is computed and checked once. Throws a `Violation`, or what the
   * core throws.
   */
  step(host: number, event: number): NumberedStep {
    const known = this.#stepNumbers.get(host + 1, event);
    const move = known === undefined ? undefined : this.#steps[known];
    if (move !== undefined) return move;
    const before = this.hosts.at(host);
    const happening = this.eventOf(event);
    const after = step(this.bounds, before, happening);
    checkStep(before, happening, after);
    const made: NumberedStep = {
      host: this.hosts.numberOf(after.host),
      messages: after.sent.map(({ message }) => this.messages.numberOf(message)),
    };
    this.#stepNumbers.add(host + 1, event, this.#steps.length);
    this.#steps.push(made);
    return made;
  }

  /** The host event with this number. */
  eventOf(event: number): HostEvent {
    return hostEventOf(event, (message) => this.messages.at(message));
  }

  facts(host: number): HostFacts {
    const known = this.#facts[host];
    if (known !== undefined) return known;
    for (let next = this.#facts.length; next <= host; next++) this.#facts.push(this.#factsOf(next));
    return this.facts(host);
  }

  /** The place of the node that a message goes to. */
  receiverOf(message: number): number {
    const known = this.#receivers[message];
    if (known !== undefined) return known;
    const place = this.#names.indexOf(this.messages.at(message).to);
    this.#receivers[message] = place;
    return place;
  }

  get #names(): string[] {
    return namesOf(this.bounds);
  }

  #factsOf(number: number): HostFacts {
    const host = this.hosts.at(number);
    const { node, writes } = host;
    return {
      place: this.#names.indexOf(host.id),
      signature: numberIn(this.#signatures, signatureOf(host)),
      leads: node.role.type === "leader",
      term: node.term,
      commit: node.commitIndex,
      memory: numberIn(this.#logs, encodeLog(host.memory)),
      events: this.#eventsAt(host),
      writes: writes.length,
      writeSteps: writes.reduce((sum, write) => sum + stepsOf(write), 0),
      mayChange: node.role.type === "leader" && this.bounds.changes > 0,
      maySnapshot: Math.min(node.commitIndex, node.durableIndex) > node.log.base.index,
      installs: host.wanted !== null && writes.length === 0,
      mayRead: node.leaderId !== null,
      mayTransfer: node.role.type === "leader" && node.role.transfer === null,
      leaseIndex: this.bounds.leases && node.role.type === "leader" ? leaseIndexOf(this.bounds, host) : null,
    };
  }

  #eventsAt({ node, writes, wanted, hasUndrainedInput }: Host): number[] {
    const { terms, preVoteRounds, checkQuorum, batching, leases } = this.bounds;
    const leads = node.role.type === "leader";
    const events: number[] = [];
    // A campaign begins the next term; a round of pre-votes does not, so their number needs a limit of its
    // own.
    const mayCampaign = node.term <= terms && node.preVoteRound < preVoteRounds;
    const isDue = leases ? node.electionDeadline === 0 : node.electionDeadline !== null;
    if (!leads && isDue && mayCampaign) events.push(TIMEOUT);
    if (leads && progressOf(node).length > 0) events.push(HEARTBEAT);
    // Not with check-quorum: such a leader would have stepped down before.
    if (leads && progressOf(node).length > 0 && !checkQuorum) events.push(UNANSWERED_HEARTBEAT);
    if (leads && checkQuorum) events.push(STEP_DOWN);
    if (node.role.type === "leader" && node.role.transfer !== null) events.push(TRANSFER_EXPIRES);
    if (node.leaderHeardAt === 0 && !leases) events.push(LEASE_ENDS);
    if (writes.length > 0) events.push(PERSIST);
    // The runtime installs a snapshot when all writes are durable, and starts no write meanwhile.
    if (wanted !== null && writes.length === 0) events.push(INSTALL);
    if (batching && hasUndrainedInput) events.push(DRAIN);
    return events;
  }
}

function numberIn(numbers: Map<string, number>, text: string): number {
  const known = numbers.get(text);
  if (known !== undefined) return known;
  numbers.set(text, numbers.size);
  return numbers.size - 1;
}
