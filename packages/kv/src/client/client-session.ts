/**
 * The client's end of a session (§8; dissertation 6.3): numbers the writes, so that the cluster recognizes a
 * repeated write and answers it as the first time.
 */
import { SESSION_LIMITS } from "keelson";
import type { SessionPlace } from "./node-call.ts";

/** One write in a session, from its number to its end. */
export interface SessionWrite {
  /** The place for one attempt. Ask anew for each: the lowest unanswered number may rise meanwhile. */
  readonly place: () => SessionPlace;
  /** To be called once, when the write isn't sent any more, whatever came of it. */
  readonly end: () => void;
  /** To be called when the cluster says that the session has ended. Later writes go into another session. */
  readonly expired: () => void;
}

interface Session {
  readonly id: number;
  /** The number of the next write. */
  next: number;
  /** Numbers of the writes that have not ended, in ascending order. */
  readonly unanswered: Set<number>;
}

/** The session of one client: opened for the first write, and replaced when it has ended or is full. */
export class ClientSession {
  readonly #open: () => Promise<number>;
  /** The session for the next write. null: none is open. */
  #session: Session | null = null;
  /** The opening under way, which all writes that need a session share. */
  #opening: Promise<Session> | null = null;

  /** `open` opens a session in the cluster and resolves with its id. */
  constructor(open: () => Promise<number>) {
    this.#open = open;
  }

  /** Gives a write its number in the open session. null: none is open, or it has no room. */
  beginNow(): SessionWrite | null {
    const session = this.#sessionWithRoom();
    return session === null ? null : this.#beginIn(session);
  }

  /** Gives a write its number, in a new session if need be. Rejects as `open` does. */
  async begin(): Promise<SessionWrite> {
    return this.#beginIn(this.#sessionWithRoom() ?? (await this.#openAnother()));
  }

  #beginIn(session: Session): SessionWrite {
    const sequence = session.next++;
    session.unanswered.add(sequence);
    return {
      place: () => ({ session: session.id, sequence, unanswered: lowestUnanswered(session) }),
      end: () => {
        session.unanswered.delete(sequence);
      },
      expired: () => {
        if (this.#session === session) this.#session = null;
      },
    };
  }

  /** Stops using the session, and returns its id. null: there is none. */
  detach(): number | null {
    const id = this.#session?.id ?? null;
    this.#session = null;
    return id;
  }

  /**
   * The open session. null if there is none, or if the cluster would refuse another write in it: it keeps
   * answers for `windowMax` numbers from the lowest unanswered one.
   */
  #sessionWithRoom(): Session | null {
    const session = this.#session;
    if (session === null) return null;
    return session.next - lowestUnanswered(session) >= SESSION_LIMITS.windowMax ? null : session;
  }

  /**
   * A new session, shared by all writes that wait for one. If more wait than it has room for, the rest open
   * another. A full session stays open for the writes in it, and ends later by not being used.
   */
  async #openAnother(): Promise<Session> {
    // An opening that began for an earlier write may fail by that write's deadline. Then one more is tried.
    let mayFail = this.#opening !== null;
    for (;;) {
      this.#opening ??= this.#openOne();
      try {
        await this.#opening;
      } catch (error) {
        if (!mayFail) throw error;
        mayFail = false;
      }
      const session = this.#sessionWithRoom();
      if (session !== null) return session;
    }
  }

  async #openOne(): Promise<Session> {
    try {
      const id = await this.#open();
      this.#session = { id, next: 1, unanswered: new Set() };
      return this.#session;
    } finally {
      this.#opening = null;
    }
  }
}

function lowestUnanswered({ next, unanswered }: Session): number {
  const [lowest = next] = unanswered;
  return lowest;
}
