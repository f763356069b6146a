import type { FaultQuota } from "./fault-quota.ts";
import type { Servers, TestNode } from "./servers.ts";

/** The operations on the cluster. An operation that is listed twice comes twice as often. */
export const OPERATIONS = [
  "grow",
  "shrink",
  "shrink by the leader",
  "replace one",
  "replace one",
  "replace the leader",
  "lose a disk",
  "lose a disk",
  "transfer",
  "transfer",
  "snapshot",
  "snapshot of all",
] as const;

/**
 * The time limit of one operation. It is long because faults overlap with operations. The next operation
 * continues what isn't done by then.
 */
const OPERATION_MS_MAX = 60_000;
/**
 * The time limit of one request. The server gives up sooner: a change of members after 10 s, a transfer after
 * an election timeout.
 */
const REQUEST_MS_MAX = 12_000;
const POLL_MS = 250;
/**
 * The fewest voters. With two, no fault could be injected; there are two only until a lost one is replaced.
 */
const VOTERS_MIN = 3;

/**
 * Changes the members, and repeats the requests until each change is complete. Also requests snapshots and
 * leadership transfers.
 */
export class MemberChanges {
  /** The number of answers, by request and result. */
  readonly answers = new Map<string, number>();
  readonly #servers: Servers;
  readonly #quota: FaultQuota;
  readonly #say: (text: string) => void;
  readonly #pause: (ms: number) => Promise<void>;

  /** `pause` may end early, when the faults shall end. */
  constructor(
    servers: Servers,
    quota: FaultQuota,
    say: (text: string) => void,
    pause: (ms: number) => Promise<void>,
  ) {
    this.#servers = servers;
    this.#quota = quota;
    this.#say = say;
    this.#pause = pause;
  }

  /**
   * Returns false if the operation could not be done now, or not in time. `whom`, from 0 to 1, decides which
   * node it concerns.
   */
  async do(kind: string, whom: number, isEnding: () => boolean): Promise<boolean> {
    const deadline = performance.now() + OPERATION_MS_MAX;
    const isOver = (): boolean => isEnding() || performance.now() > deadline;
    if (kind.startsWith("snapshot")) return this.#snapshot(kind, whom);
    const leader = await this.#servers.leader();
    if (kind === "transfer") return this.#transfer(leader, whom);
    if (!(await this.#settle(isOver))) return false;
    if (kind === "grow") return this.#grow(whom, isOver);
    const node = this.#victim(kind.endsWith("the leader") ? leader : null, kind, whom);
    if (node === null) return false;
    if (kind === "lose a disk") return this.#loseDisk(node, whom, isOver);
    if (kind.startsWith("replace") && !(await this.#grow(whom, isOver))) return false;
    return this.#shrink(node, isOver);
  }

  /** Completes what earlier operations left incomplete. Resolves with whether everything is complete. */
  async settle(msMax: number): Promise<boolean> {
    const deadline = performance.now() + msMax;
    return this.#settle(() => performance.now() > deadline);
  }

  async #settle(isOver: () => boolean): Promise<boolean> {
    for (const node of this.#servers.nodes) {
      if (node.state === "joining" && !(await this.#joined(node, isOver))) return false;
      if (isLeaving(node) && !(await this.#removed(node, isOver))) return false;
    }
    for (const id of await this.#servers.strays()) {
      // The node joined after the operation had stopped waiting for it.
      this.#say(`${id} is a member without a node: it is removed`);
      if (!(await this.#removedId(id, isOver))) return false;
    }
    return true;
  }

  /** A member that may be removed: the leader if `leader` asks for it, otherwise any. */
  #victim(leader: string | null, kind: string, whom: number): TestNode | null {
    const members = this.#servers.nodes.filter(({ state }) => state === "member");
    const isTooFew = kind.startsWith("shrink") && members.length <= VOTERS_MIN;
    if (isTooFew) return null;
    if (kind.endsWith("the leader")) return members.find(({ id }) => id === leader) ?? null;
    return members[Math.floor(whom * members.length)] ?? null;
  }

  async #grow(whom: number, isOver: () => boolean): Promise<boolean> {
    const places = this.#servers.vacantPlaces;
    const place = places[Math.floor(whom * places.length)];
    if (place === undefined) return false;
    const node = this.#servers.join(place);
    this.#say(`${node.id} joins`);
    return this.#joined(node, isOver);
  }

  async #joined(node: TestNode, isOver: () => boolean): Promise<boolean> {
    for (;;) {
      if (await this.#servers.mostSay((members) => isVoter(members, node.id))) {
        node.state = "member";
        node.process.mayStop = false;
        // The node may have stopped because the answer to its request to join was lost.
        node.process.start();
        this.#say(`${node.id} is a voter`);
        return true;
      }
      if (node.process.hasGivenUp) {
        this.#say(`${node.id} gave up joining: its log says why`);
        await this.#servers.wipe(node);
        return false;
      }
      if (isOver()) return false;
      await this.#pause(POLL_MS);
    }
  }

  async #shrink(node: TestNode, isOver: () => boolean): Promise<boolean> {
    if (!(await this.#waited(() => this.#quota.mayLeave(node.id), isOver))) return false;
    node.state = "leaving";
    node.process.mayStop = true;
    this.#say(`${node.id} is removed`);
    return this.#removed(node, isOver);
  }

  /** A member loses its disk for good. When it has been removed, its place gets a node with another id. */
  async #loseDisk(node: TestNode, whom: number, isOver: () => boolean): Promise<boolean> {
    if (!(await this.#waited(() => this.#quota.claim([node.id]), isOver))) return false;
    this.#say(`${node.id} loses its disk`);
    await this.#servers.wipe(node);
    // From now on its state counts as faulty, until it is removed.
    this.#quota.release([node.id]);
    return (await this.#removed(node, isOver)) && (await this.#grow(whom, isOver));
  }

  /** Returns false if the time was over before the condition held. */
  async #waited(condition: () => boolean, isOver: () => boolean): Promise<boolean> {
    while (!condition()) {
      if (isOver()) return false;
      await this.#pause(POLL_MS);
    }
    return true;
  }

  async #removed(node: TestNode, isOver: () => boolean): Promise<boolean> {
    if (!(await this.#removedId(node.id, isOver))) return false;
    await this.#servers.discard(node);
    this.#say(`${node.id} is no member any more`);
    return true;
  }

  async #removedId(id: string, isOver: () => boolean): Promise<boolean> {
    for (;;) {
      if (await this.#servers.mostSay((members) => members.every((member) => member.id !== id))) return true;
      if (isOver()) return false;
      const leader = await this.#servers.leader();
      if (leader !== null) await this.#ask("remove", leader, "DELETE", `/members/${id}`);
      await this.#pause(POLL_MS);
    }
  }

  /** Transfers to some member, or lets the leader choose one. */
  async #transfer(leader: string | null, whom: number): Promise<boolean> {
    if (leader === null) return false;
    const others = this.#servers.nodes.filter(({ id, state }) => state === "member" && id !== leader);
    const to = others[Math.floor(whom * 2 * others.length)]?.id;
    this.#say(`transfer: ${leader} hands over to ${to ?? "whom it thinks best"}`);
    return this.#ask("transfer", leader, "POST", "/transfer", to === undefined ? {} : { to });
  }

  async #snapshot(kind: string, whom: number): Promise<boolean> {
    const nodes = this.#servers.nodes.filter(({ process }) => process.isRunning && !process.isPaused);
    const { id } = nodes[Math.floor(whom * nodes.length)] ?? {};
    const ids = kind.endsWith("all") ? nodes.map((node) => node.id) : id === undefined ? [] : [id];
    this.#say(`${kind}: ${ids.join(", ")}`);
    const done = await Promise.all(ids.map((each) => this.#ask("snapshot", each, "POST", "/snapshot")));
    return done.includes(true);
  }

  async #ask(
    what: string,
    id: string,
    method: "POST" | "DELETE",
    target: string,
    body?: object,
  ): Promise<boolean> {
    const answer = await this.#servers.ask(id, method, target, REQUEST_MS_MAX, body);
    const name = `${what}: ${answer === null ? "no answer" : (answer.code ?? "done")}`;
    this.answers.set(name, (this.answers.get(name) ?? 0) + 1);
    return answer?.code === null;
  }
}

function isLeaving({ state }: TestNode): boolean {
  return state === "leaving" || state === "lost";
}

function isVoter(members: readonly { readonly id: string; readonly role: string }[], id: string): boolean {
  return members.some((member) => member.id === id && member.role === "voter");
}
