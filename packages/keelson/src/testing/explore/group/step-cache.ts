import { keepsConfigs, namesOf, type Bounds } from "../shared/bounds.ts";
import { encodeHistory, renameHistory, type GroupHistory } from "./group-history.ts";
import { progressOf, step, stepsOf, type Host, type HostEvent, type MessageInTransit } from "../host/host.ts";
import {
  encodeHost,
  encodeLog,
  renameHost,
  renameMessage,
  renamingsOf,
  signatureOf,
  type Renaming,
} from "../host/host-encoding.ts";
import { checkStep } from "./invariants.ts";
import { PairTable } from "../shared/pair-table.ts";

/** A value met for the first time gets the next number; the same value later, the same number. */
class NumberedValues<T> {
  readonly #values: T[] = [];
  readonly #numbers = new Map<string, number>();
  readonly #encode: (value: T) => string;
  readonly #rename: (renaming: Renaming, value: T) => T;
  readonly #renamings: readonly Renaming[];
  /** By renaming: the number that each number becomes, plus 1; 0: not known yet. */
  readonly #renamed: number[][];

  constructor(
    renamings: readonly Renaming[],
    encode: (value: T) => string,
    rename: (renaming: Renaming, value: T) => T,
  ) {
    this.#renamings = renamings;
    this.#encode = encode;
    this.#rename = rename;
    this.#renamed = renamings.map(() => []);
  }

  get size(): number {
    return this.#values.length;
  }

  numberOf(value: T): number {
    const text = this.#encode(value);
    const known = this.#numbers.get(text);
    if (known !== undefined) return known;
    const number = this.#values.length;
    this.#values.push(value);
    this.#numbers.set(text, number);
    return number;
  }

  at(number: number): T {
    const value = this.#values[number];
    if (value === undefined) throw new Error(`nothing has the number ${number}`);
    return value;
  }

  renamed(by: number, number: number): number {
    if (by === 0) return number;
    const table = this.#renamed[by];
    const renaming = this.#renamings[by];
    if (table === undefined || renaming === undefined) throw new Error(`there is no renaming ${by}`);
    const known = table[number] ?? 0;
    if (known > 0) return known - 1;
    while (table.length <= number) table.push(0);
    const found = this.numberOf(this.#rename(renaming, this.at(number)));
    table[number] = found + 1;
    return found;
  }
}

/** What is asked of a host so often that it is worked out once. */
export interface HostFacts {
  readonly place: number;
  /** Orders the hosts of a state; equal for hosts that differ only in names. */
  readonly signature: number;
  readonly leads: boolean;
  readonly term: number;
  readonly commit: number;
  /** The log by number: equal numbers are equal logs. */
  readonly memory: number;
  readonly writes: number;
  /** The events, other than messages, that can happen to it; proposals and crashes apart. */
  readonly events: readonly number[];
  /** In how many steps its writes reach the disk. */
  readonly writeSteps: number;
  /** Whether it may begin a change of membership, and whether there is something to take a snapshot of. */
  readonly mayChange: boolean;
  readonly maySnapshot: boolean;
  /** Whether a snapshot is about to be installed, so that a crash may come in between. */
  readonly installs: boolean;
}

/** A step by numbers. */
export interface NumberedStep {
  readonly host: number;
  readonly messages: readonly number[];
}

// Events as numbers, so that a step can be looked up.
const TIMEOUT = 0;
const HEARTBEAT = 1;
const STEP_DOWN = 2;
const LEASE_ENDS = 3;
const PERSIST = 4;
const DRAIN = 5;
const UNANSWERED_HEARTBEAT = 6;
const SNAPSHOT = 7;
const PROPOSE = 8;
const CRASH = 32;
const CHANGE = 96;
const INSTALL = 112;
const INSTALL_CRASH = 113;
const DELIVER = 128;

export const isHeartbeat = (event: number): boolean => event === HEARTBEAT || event === UNANSWERED_HEARTBEAT;
export const propose = (payload: number): number => PROPOSE + payload;
export const crash = (steps: number): number => CRASH + steps;
export const change = (target: number): number => CHANGE + target;
export const SNAPSHOT_EVENT = SNAPSHOT;
export const INSTALL_CRASH_EVENT = INSTALL_CRASH;
export const deliver = (message: number): number => DELIVER + message;

/**
 * All hosts, messages and pasts that were met, by number, and what every event did to every host.
 * The core is a pure function, so a step of one host is worked out once, however many states of
 * the group it is part of: this is what makes millions of states cheap.
 */
export class StepCache {
  readonly bounds: Bounds;
  readonly renamings: readonly Renaming[];
  /** By renaming: the one that undoes it. */
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

  /** Lets an event happen to a host, checking what one host's step must keep. Throws what breaks. */
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

  eventOf(event: number): HostEvent {
    if (event >= DELIVER) return { type: "deliver", message: this.messages.at(event - DELIVER) };
    if (event === INSTALL) return { type: "install" };
    if (event === INSTALL_CRASH) return { type: "install-crash" };
    if (event >= CHANGE) return { type: "change", target: event - CHANGE };
    if (event >= CRASH) return { type: "crash", steps: event - CRASH };
    if (event >= PROPOSE) return { type: "propose", payload: event - PROPOSE };
    switch (event) {
      case TIMEOUT:
        return { type: "timeout" };
      case HEARTBEAT:
        return { type: "heartbeat" };
      case UNANSWERED_HEARTBEAT:
        return { type: "unanswered-heartbeat" };
      case STEP_DOWN:
        return { type: "step-down" };
      case LEASE_ENDS:
        return { type: "lease-ends" };
      case PERSIST:
        return { type: "persist" };
      case SNAPSHOT:
        return { type: "snapshot" };
      default:
        return { type: "drain" };
    }
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
    };
  }

  #eventsAt({ node, writes, wanted, hasUndrainedInput }: Host): number[] {
    const { terms, checkQuorum, batching } = this.bounds;
    const leads = node.role.type === "leader";
    const events: number[] = [];
    // A campaign begins the next term.
    if (!leads && node.electionDeadline !== null && node.term <= terms) events.push(TIMEOUT);
    if (leads && progressOf(node).length > 0) events.push(HEARTBEAT);
    // With check-quorum it would have stepped down by then.
    if (leads && progressOf(node).length > 0 && !checkQuorum) events.push(UNANSWERED_HEARTBEAT);
    if (leads && checkQuorum) events.push(STEP_DOWN);
    if (node.leaderHeardAt === 0) events.push(LEASE_ENDS);
    if (writes.length > 0) events.push(PERSIST);
    // An installation waits for the writes under way, and nothing is written meanwhile.
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
