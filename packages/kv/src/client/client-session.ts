import { SESSION_LIMITS } from "keelson";
import { SEQUENCE_HEADER, SESSION_HEADER, UNANSWERED_HEADER } from "../http/request-syntax.ts";

/** One write in a session. */
export interface SessionWrite {
  /** What goes with each attempt; made anew each time, as others may have had their answers meanwhile. */
  readonly headers: () => Record<string, string>;
  /** The write has ended, one way or another. */
  readonly end: () => void;
  /** The cluster says that the session has ended: later writes go into another. */
  readonly expired: () => void;
}

interface Session {
  readonly id: number;
  next: number;
  /** Ascending, because numbers are given out in order. */
  readonly unanswered: Set<number>;
}

/** The session of one client: opened when it is first needed, and anew when it has ended or is full. */
export class ClientSession {
  readonly #open: () => Promise<number>;
  /** null: none is open. */
  #session: Session | null = null;
  #opening: Promise<Session> | null = null;

  /** `open` opens a session and resolves with its id. */
  constructor(open: () => Promise<number>) {
    this.#open = open;
  }

  /** Gives a write its number. Rejects as `open` does. */
  async begin(): Promise<SessionWrite> {
    const session = this.#room() ?? (await this.#another());
    const sequence = session.next++;
    session.unanswered.add(sequence);
    return {
      headers: () => ({
        [SESSION_HEADER]: String(session.id),
        [SEQUENCE_HEADER]: String(sequence),
        [UNANSWERED_HEADER]: String(lowestOf(session)),
      }),
      end: () => {
        session.unanswered.delete(sequence);
      },
      expired: () => {
        if (this.#session === session) this.#session = null;
      },
    };
  }

  /** Lets go of the session, and returns its id; null: there is none. */
  leave(): number | null {
    const id = this.#session?.id ?? null;
    this.#session = null;
    return id;
  }

  /** The session, unless the cluster would refuse one more write in it: the oldest that waits is too far behind. */
  #room(): Session | null {
    const session = this.#session;
    return session === null || session.next - lowestOf(session) >= SESSION_LIMITS.windowMax ? null : session;
  }

  /** Many writes that begin at once share one session; one that is full goes on, and ends by itself. */
  async #another(): Promise<Session> {
    for (;;) {
      this.#opening ??= this.#opened();
      await this.#opening;
      const session = this.#room();
      if (session !== null) return session;
    }
  }

  async #opened(): Promise<Session> {
    try {
      const id = await this.#open();
      this.#session = { id, next: 1, unanswered: new Set() };
      return this.#session;
    } finally {
      this.#opening = null;
    }
  }
}

function lowestOf({ next, unanswered }: Session): number {
  const [lowest = next] = unanswered;
  return lowest;
}
