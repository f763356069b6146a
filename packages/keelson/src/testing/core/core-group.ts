import {
  configOf,
  type LogPosition,
  type Message,
  type NodeId,
  type RaftNode,
  type RaftNodeOptions,
} from "../../core/index.ts";
import { CoreChecker, InvariantBroken } from "./core-checker.ts";
import { CoreHost, type MessageInTransit, type TornWrites } from "./core-host.ts";

/** A generator of numbers in [0, 1). The same seed gives the same numbers on every machine. */
export function seededRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** How a group differs from the default. */
export interface CoreGroupOptions extends Omit<Partial<RaftNodeOptions>, "id"> {
  readonly seed?: number;
  /** Options of single nodes, which differ from those of the others. */
  readonly of?: Readonly<Record<NodeId, Omit<Partial<RaftNodeOptions>, "id">>>;
}

/** Rounds of "write, deliver" that a group may need to come to rest; more means that it never will. */
const ROUNDS_MAX = 2_000;

/**
 * A scripted group of cores: a clock that moves when told, a network that loses what it is told to
 * lose, and disks that can be held. After every step all invariants are checked.
 */
export class CoreGroup {
  readonly checker: CoreChecker = new CoreChecker();
  readonly ids: readonly NodeId[];
  readonly electionMsMax: number;
  readonly heartbeatMs: number;
  readonly #hosts = new Map<NodeId, CoreHost>();
  readonly #cuts = new Set<string>();
  readonly #heldDisks = new Set<NodeId>();
  #intercepts: ((message: Message, to: NodeId) => boolean) | null = null;
  /** Messages on their way, in the order in which they were sent. */
  inTransit: MessageInTransit[] = [];
  /** Messages that `intercept` took out of the stream. */
  intercepted: MessageInTransit[] = [];
  /** All messages that were ever sent, also those that were lost, since the last `clearSent`. */
  sent: MessageInTransit[] = [];
  now = 0;

  constructor(ids: readonly NodeId[], options: CoreGroupOptions = {}) {
    const { seed = 1, of = {}, ...shared } = options;
    this.ids = ids;
    this.electionMsMax = options.electionTimeoutMs?.max ?? 800;
    this.heartbeatMs = options.heartbeatMs ?? 80;
    const random = options.random ?? seededRandom(seed);
    for (const id of ids) this.#hosts.set(id, new CoreHost(id, random, { ...shared, ...of[id] }));
  }

  /** A group that was created by its first member, which leads it; everything is replicated. */
  static started(ids: readonly NodeId[], options: CoreGroupOptions = {}): CoreGroup {
    const group = new CoreGroup(ids, options);
    const [first] = ids;
    if (first === undefined) throw new Error("a group has members");
    group.host(first).createCluster(ids, group.now);
    group.settle();
    group.elect(first);
    group.heartbeat();
    return group;
  }

  host(id: NodeId): CoreHost {
    const host = this.#hosts.get(id);
    if (host === undefined) throw new Error(`there is no ${id}`);
    return host;
  }

  node(id: NodeId): RaftNode {
    return this.host(id).node;
  }

  get hosts(): CoreHost[] {
    return [...this.#hosts.values()];
  }

  get running(): CoreHost[] {
    return this.hosts.filter((host) => host.isUp);
  }

  /** The running nodes that believe that they lead, the one of the newest term first. */
  get leaders(): NodeId[] {
    const leading = this.running.filter(({ node }) => node.role === "leader");
    return leading.sort((a, b) => b.node.term - a.node.term).map(({ id }) => id);
  }

  /** Connects a new node, with an empty log, to the others. It is no member yet. */
  add(id: NodeId, options: Omit<Partial<RaftNodeOptions>, "id"> = {}): CoreHost {
    const host = new CoreHost(id, seededRandom(this.#hosts.size), options);
    this.#hosts.set(id, host);
    return host;
  }

  // --- Faults ----------------------------------------------------------------------------------

  /** From now on, messages that are sent between the two nodes are lost, in both directions. */
  cut(a: NodeId, b: NodeId): void {
    this.cutOneWay(a, b);
    this.cutOneWay(b, a);
  }

  cutOneWay(from: NodeId, to: NodeId): void {
    this.#cuts.add(`${from}>${to}`);
  }

  /** From now on, messages that are sent between these nodes and the others are lost. */
  isolate(...ids: readonly NodeId[]): void {
    for (const a of ids) for (const b of this.#hosts.keys()) if (!ids.includes(b)) this.cut(a, b);
  }

  heal(): void {
    this.#cuts.clear();
  }

  /** Writes of this node do not complete until `releaseDisk`. */
  holdDisk(id: NodeId): void {
    this.#heldDisks.add(id);
  }

  releaseDisk(id: NodeId): void {
    this.#heldDisks.delete(id);
  }

  /** Takes messages out of the stream from now on, into `intercepted`; null ends that. */
  intercept(which: ((message: Message, to: NodeId) => boolean) | null): void {
    this.#intercepts = which;
  }

  crash(id: NodeId, torn?: TornWrites): void {
    this.host(id).crash(torn);
    this.check();
  }

  restart(id: NodeId): void {
    const host = this.host(id);
    host.restart(this.now);
    this.drain(host);
    this.check();
  }

  // --- Steps -----------------------------------------------------------------------------------

  check(): void {
    this.checker.check(this.hosts);
  }

  /** Takes a node's actions and posts what may be sent. */
  drain(host: CoreHost): void {
    this.#post(host.drain(), host);
  }

  /** Completes the node's oldest write, whether or not its disk is held. */
  persistOne(host: CoreHost): void {
    this.#post(host.persistOne(this.now), host);
    this.drain(host);
    this.check();
  }

  /**
   * Delivers a message, even over a link that is cut. The caller decides when, how often and in which order.
   */
  deliver(sent: MessageInTransit): void {
    const host = this.host(sent.to);
    if (!host.isUp) return;
    host.receive(sent, this.now);
    this.drain(host);
    this.check();
  }

  /** Takes out the intercepted messages and delivers them. */
  deliverIntercepted(): void {
    for (const sent of this.intercepted.splice(0)) this.deliver(sent);
  }

  /** Hands a message over as if another node had sent it. */
  inject(to: NodeId, message: Message): void {
    this.deliver({ to, message, entries: [] });
  }

  /**
   * Writes and delivers until nothing is left to write or to deliver, except on held disks. The clock stands
   * still.
   */
  settle(): void {
    for (const host of this.running) this.drain(host);
    for (let round = 0; round < ROUNDS_MAX; round++) {
      if (!this.#settleOnce()) return;
    }
    throw new InvariantBroken("the group never comes to rest");
  }

  #settleOnce(): boolean {
    let moved = false;
    for (const host of this.running) {
      if (this.#heldDisks.has(host.id)) continue;
      while (host.pendingWrites > 0) {
        this.persistOne(host);
        moved = true;
      }
      if (host.snapshotIsWanted) {
        host.beginInstall();
        host.finishInstall(this.now);
        this.drain(host);
        this.check();
        moved = true;
      }
    }
    for (const sent of this.inTransit.splice(0)) {
      moved = true;
      this.deliver(sent);
    }
    return moved;
  }

  /** Moves the clock on, from one timer to the next. */
  advance(ms: number): void {
    const end = this.now + ms;
    this.settle();
    for (let stalled = 0; ;) {
      const next = Math.min(...this.running.map((host) => host.timer ?? Infinity));
      if (next > end) break;
      stalled = next <= this.now ? stalled + 1 : 0;
      if (stalled > ROUNDS_MAX) throw new InvariantBroken("a timer rings for ever without the clock moving");
      this.now = Math.max(this.now, next);
      for (const host of this.running) if (host.timer !== null && host.timer <= this.now) this.fire(host.id);
      this.settle();
    }
    this.now = end;
  }

  /**
   * Moves the clock on by one heartbeat interval, so that the leader sends a heartbeat and the others answer
   * it.
   */
  heartbeat(): void {
    this.advance(this.heartbeatMs);
  }

  /** Calls a node's `handleTimeout`. */
  fire(id: NodeId): void {
    const host = this.host(id);
    host.timeout(this.now);
    this.drain(host);
    this.check();
  }

  /** Lets one node, and no other, notice that its election timeout has passed. */
  timeOut(id: NodeId): void {
    this.now += this.electionMsMax;
    this.fire(id);
  }

  /** Makes this node the leader by letting its timeout alone pass; the others must be willing. */
  elect(id: NodeId): void {
    this.timeOut(id);
    this.settle();
    if (this.node(id).role !== "leader") throw new InvariantBroken(`${id} was not elected`);
  }

  /** Proposes on a node, lets the group settle, and returns the position. */
  write(id: NodeId, payload: string): LogPosition {
    const position = this.propose(id, payload);
    this.settle();
    return position;
  }

  /** Proposes on a node that leads; nothing leaves it yet. */
  propose(id: NodeId, payload: string): LogPosition {
    const position = this.host(id).propose(payload, this.now);
    if (position === null) throw new InvariantBroken(`${id} does not lead`);
    return position;
  }

  /** Begins a change of membership on a node that leads, which must take it; nothing leaves it yet. */
  proposeConfig(id: NodeId, voters: readonly NodeId[], learners: readonly NodeId[] = []): LogPosition {
    const proposed = this.host(id).proposeConfig(configOf(voters, learners), this.now);
    if (typeof proposed === "string") throw new InvariantBroken(`${id} refused the change: ${proposed}`);
    return proposed;
  }

  /** Changes the membership and lets the group settle. */
  change(id: NodeId, voters: readonly NodeId[], learners: readonly NodeId[] = []): LogPosition {
    const position = this.proposeConfig(id, voters, learners);
    this.settle();
    return position;
  }

  /** Begins a read, and returns its id. The answer appears in the host's `reads`. */
  read(id: NodeId): number {
    const read = this.node(id).readIndex(this.now);
    this.drain(this.host(id));
    return read;
  }

  clearSent(): void {
    this.sent = [];
  }

  /** What a node has, as `index@term` of each entry. */
  positions(id: NodeId): string[] {
    return this.host(id).memory.map(({ index, term }) => `${index}@${term}`);
  }

  payloads(id: NodeId): string[] {
    return this.host(id).memory.flatMap(({ payload, config }) => (config === null ? [payload] : []));
  }

  #post(messages: readonly MessageInTransit[], sender: CoreHost): void {
    for (const sent of messages) {
      this.checker.checkMessage(sent, sender, this.hosts);
      this.sent.push(sent);
      const { message, to } = sent;
      if (this.#cuts.has(`${message.from}>${to}`) || !this.#hosts.has(to)) continue;
      if (this.#intercepts?.(message, to) === true) this.intercepted.push(sent);
      else this.inTransit.push(sent);
    }
  }
}

/** Those of the messages that have this type. */
export function ofType<T extends Message["type"]>(
  messages: readonly MessageInTransit[],
  type: T,
): (Message & { readonly type: T })[] {
  const isIt = (message: Message): message is Message & { readonly type: T } => message.type === type;
  return messages.map(({ message }) => message).filter(isIt);
}
