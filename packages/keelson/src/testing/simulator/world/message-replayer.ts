import type { TransportMessage } from "../../../transport/transport.ts";

/**
 * Delivers late copies of messages at the worst moment: when their receiver leads again, in a later term, and
 * doesn't know anything about its followers yet (R7). It keeps the last acknowledgement and the last
 * forwarded call of each sender.
 */
export class MessageReplayer {
  /** By message type and sender. At most two for each node. */
  readonly #kept = new Map<string, { readonly transportMessage: TransportMessage; readonly term: number }>();
  /** The term that the receiver leads; null: it doesn't lead. */
  readonly #ledTerm: () => number | null;

  constructor(ledTerm: () => number | null) {
    this.#ledTerm = ledTerm;
  }

  /** The copies to deliver before this message. Each is delivered once. */
  dueBefore(transportMessage: TransportMessage): TransportMessage[] {
    const term = this.#ledTerm();
    const due = [...this.#kept].filter(([, kept]) => term !== null && kept.term < term);
    for (const [key] of due) this.#kept.delete(key);
    const { message } = transportMessage;
    const isAcknowledgement = message.type === "append-entries-reply" && message.outcome.accepted;
    if (isAcknowledgement || message.type === "forward-request") {
      this.#kept.set(`${message.type} ${message.from}`, { transportMessage, term: message.term });
    }
    return due.map(([, kept]) => kept.transportMessage);
  }
}
