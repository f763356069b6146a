/**
 * Looks up the addresses of host names for outgoing connections.
 *
 * The system's resolver waits 5 s or more for a name server that doesn't answer, which is longer than the
 * transport waits for a connection. If each attempt to connect looked the name up anew, the answer would
 * always come too late, and a node would never reach its peer again while the first of its name servers is
 * down. Node also runs few lookups at a time, so repeated ones would hold up those of other names. Therefore
 * a name has one lookup at a time, which later attempts join, and an answer that comes between two attempts
 * is kept for the next one.
 *
 * Owns the lookups that are under way. An answer serves the attempts that waited for it, or one later
 * attempt, so a name whose address changes is looked up again.
 */
import dns from "node:dns";
import type net from "node:net";

/** The addresses of a host, as `dns.lookup` returns them. */
type Addresses = readonly dns.LookupAddress[];

/** Looks a name up, as `dns.promises.lookup` does with `all`. Tests put another one in its place. */
export type Resolve = (host: string, options: dns.LookupAllOptions) => Promise<Addresses>;

/**
 * Milliseconds for which an answer that no attempt waited for is kept. Longer than the pause between two
 * attempts, and short enough that a peer that moved is found.
 */
const LATE_ANSWER_MS_MAX = 3000;

/** An attempt to connect that waits for the addresses of a host. */
interface Waiter {
  /** Whether the attempt is still under way. */
  readonly isWanted: () => boolean;
  /** Called in a tick of its own, in which an error that it throws concerns no other attempt. */
  readonly done: (error: Error | null, addresses: Addresses) => void;
}

export class NameLookups {
  readonly #resolve: Resolve;
  readonly #now: () => number;
  /**
   * The lookups that are under way, by host. Each attempt that joins one drops those that were given up: a
   * resolver that never answers would collect an attempt, with its socket, every few seconds.
   */
  readonly #pending = new Map<string, Waiter[]>();
  /**
   * Answers that came when no attempt waited any more, by host, each until it is used. Keeping one drops
   * those that are too old: other nodes choose the names to dial, so the number of names has no limit.
   */
  readonly #late = new Map<string, { readonly addresses: Addresses; readonly at: number }>();

  constructor(
    resolve: Resolve = (host, options) => dns.promises.lookup(host, options),
    now: () => number = () => performance.now(),
  ) {
    this.#resolve = resolve;
    this.#now = now;
  }

  /** What is held, for tests: answers that were kept, and attempts that wait. */
  get held(): { readonly answers: number; readonly attempts: number } {
    const attempts = [...this.#pending.values()].reduce((sum, waiters) => sum + waiters.length, 0);
    return { answers: this.#late.size, attempts };
  }

  /**
   * The `lookup` of `net.connect` for one attempt. `isWanted` tells whether the attempt is still under way.
   */
  forAttempt(isWanted: () => boolean): net.LookupFunction {
    return (host, options, callback) => {
      const isAll = options.all === true;
      const done: Waiter["done"] = (error, addresses) => {
        const [first] = addresses;
        if (error !== null || isAll) callback(error, [...addresses]);
        else callback(null, first?.address ?? "", first?.family ?? 0);
      };
      const late = this.#takeLate(host);
      if (late === null) this.#join(host, options, { isWanted, done });
      else process.nextTick(done, null, late);
    };
  }

  #takeLate(host: string): Addresses | null {
    const late = this.#late.get(host);
    this.#late.delete(host);
    return late === undefined || this.#isTooOld(late.at) ? null : late.addresses;
  }

  #join(host: string, options: dns.LookupOptions, waiter: Waiter): void {
    const others = this.#pending.get(host);
    this.#pending.set(host, [...(others ?? []).filter(({ isWanted }) => isWanted()), waiter]);
    if (others !== undefined) return;
    this.#resolve(host, { ...options, all: true }).then(
      (addresses) => {
        const waiters = this.#end(host);
        if (!waiters.some(({ isWanted }) => isWanted())) this.#keep(host, addresses);
        for (const { done } of waiters) process.nextTick(done, null, addresses);
      },
      (error: unknown) => {
        const cause = error instanceof Error ? error : new Error(String(error));
        for (const { done } of this.#end(host)) process.nextTick(done, cause, []);
      },
    );
  }

  /** The lookup of the host is over. Returns who waited for it. */
  #end(host: string): readonly Waiter[] {
    const waiters = this.#pending.get(host) ?? [];
    this.#pending.delete(host);
    return waiters;
  }

  #keep(host: string, addresses: Addresses): void {
    for (const [name, { at }] of this.#late) if (this.#isTooOld(at)) this.#late.delete(name);
    this.#late.set(host, { addresses, at: this.#now() });
  }

  #isTooOld(at: number): boolean {
    return this.#now() - at > LATE_ANSWER_MS_MAX;
  }
}

/** Shared by all connections of the process, as they share the system's resolver. */
export const nameLookups: NameLookups = new NameLookups();
