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

/** One address of a host, as `dns.lookup` returns it. */
type Addresses = readonly dns.LookupAddress[];

/** Looks a name up, as `dns.promises.lookup` does with `all`. Tests put another one in its place. */
export type Resolve = (host: string, options: dns.LookupAllOptions) => Promise<Addresses>;

/**
 * Milliseconds for which an answer that no attempt waited for is kept. Longer than the pause between two
 * attempts, and short enough that a peer that moved is found.
 */
const LATE_ANSWER_MS_MAX = 3000;

/** A lookup that is under way. */
interface Pending {
  readonly answer: Promise<Addresses>;
  /** Whether each attempt that waits for the answer still wants it. */
  readonly wanted: (() => boolean)[];
}

export class NameLookups {
  readonly #resolve: Resolve;
  readonly #now: () => number;
  readonly #pending = new Map<string, Pending>();
  /**
   * Answers that came when no attempt waited any more, each until it is used or too old. One for each name at
   * most.
   */
  readonly #late = new Map<string, { readonly addresses: Addresses; readonly at: number }>();

  constructor(
    resolve: Resolve = (host, options) => dns.promises.lookup(host, options),
    now: () => number = () => performance.now(),
  ) {
    this.#resolve = resolve;
    this.#now = now;
  }

  /**
   * The `lookup` of `net.connect` for one attempt. `isWanted` tells whether the attempt is still under way.
   */
  forAttempt(isWanted: () => boolean): net.LookupFunction {
    return (host, options, callback) => {
      const isAll = options.all === true;
      this.#addressesOf(host, options, isWanted).then(
        (addresses) => {
          const [first] = addresses;
          if (isAll) callback(null, [...addresses]);
          else callback(null, first?.address ?? "", first?.family ?? 0);
        },
        (error: unknown) => {
          callback(error instanceof Error ? error : new Error(String(error)), []);
        },
      );
    };
  }

  #addressesOf(host: string, options: dns.LookupOptions, isWanted: () => boolean): Promise<Addresses> {
    const late = this.#late.get(host);
    this.#late.delete(host);
    if (late !== undefined && this.#now() - late.at <= LATE_ANSWER_MS_MAX)
      return Promise.resolve(late.addresses);
    const pending = this.#pending.get(host) ?? this.#begin(host, options);
    pending.wanted.push(isWanted);
    return pending.answer;
  }

  #begin(host: string, options: dns.LookupOptions): Pending {
    const wanted: (() => boolean)[] = [];
    const answer = this.#resolve(host, { ...options, all: true }).then(
      (addresses) => {
        this.#pending.delete(host);
        if (!wanted.some((isWanted) => isWanted())) this.#late.set(host, { addresses, at: this.#now() });
        return addresses;
      },
      (error: unknown) => {
        this.#pending.delete(host);
        throw error;
      },
    );
    const pending: Pending = { answer, wanted };
    this.#pending.set(host, pending);
    return pending;
  }
}

/** Shared by all connections of the process, as they share the system's resolver. */
export const nameLookups = new NameLookups();
