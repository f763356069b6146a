import type { TransportMessage } from "../../../transport/transport.ts";

/** The receiver's term when a message comes, and whether it leads that term. */
export interface ReceiverTerm {
  readonly term: number;
  readonly leads: boolean;
}

type MessageTypeName = TransportMessage["message"]["type"];

/**
 * Messages of these types, arriving late, could do harm at a leader of a later term, which doesn't know
 * anything about its followers yet (R7, K1).
 */
const HARM_LEADERS: readonly MessageTypeName[] = ["append-entries-reply", "forward-request"];

/**
 * Messages of these types, arriving late, could do harm at any node that has entered a later term since (E25,
 * T2, W8).
 */
const HARM_ANYONE: readonly MessageTypeName[] = [
  ...(["pre-vote", "pre-vote-reply", "request-vote", "request-vote-reply", "append-entries"] as const),
  ...(["install-snapshot", "read-index", "read-index-reply", "timeout-now"] as const),
];

/**
 * Delivers late copies of messages at the worst moment: when their receiver has entered a later term, or
 * leads it. It keeps the last message of each type of each sender.
 */
export class MessageReplayer {
  /** By message type and sender. */
  readonly #kept = new Map<string, { readonly transportMessage: TransportMessage; readonly term: number }>();
  /** null: the receiver doesn't run. */
  readonly #receiver: () => ReceiverTerm | null;

  constructor(receiver: () => ReceiverTerm | null) {
    this.#receiver = receiver;
  }

  /**
   * Keeps this message, and returns the copies of earlier ones to deliver before it. Each is delivered once.
   */
  dueBefore(transportMessage: TransportMessage): TransportMessage[] {
    const { message } = transportMessage;
    const due = "term" in message ? this.#takeDue(message.term) : [];
    const isRefusal = message.type === "append-entries-reply" && !message.outcome.accepted;
    const doesHarm = HARM_LEADERS.includes(message.type) || HARM_ANYONE.includes(message.type);
    if (doesHarm && !isRefusal && "term" in message)
      this.#kept.set(`${message.type} ${message.from}`, { transportMessage, term: message.term });
    return due;
  }

  /**
   * `term`: that of the message that comes. It is slow to ask the receiver, so this is done only if a message
   * of an earlier term is kept.
   */
  #takeDue(term: number): TransportMessage[] {
    const due: TransportMessage[] = [];
    let receiver: ReceiverTerm | null | undefined;
    for (const [key, kept] of this.#kept) {
      if (kept.term >= term) continue;
      if (receiver === undefined) receiver = this.#receiver();
      if (!isDue(kept.transportMessage, kept.term, receiver)) continue;
      this.#kept.delete(key);
      due.push(kept.transportMessage);
    }
    return due;
  }
}

function isDue({ message }: TransportMessage, term: number, receiver: ReceiverTerm | null): boolean {
  if (receiver === null || term >= receiver.term) return false;
  return receiver.leads || HARM_ANYONE.includes(message.type);
}
