// What a node publishes on named channels for tools that follow a running program
// (`node:diagnostics_channel`).
//
// While nobody subscribes, a node does no more for it than to read one boolean per message, per durable write
// and per change of role, term or leader. The core knows nothing of it: all of this is seen from outside.
import { isRuntimeMessage, type RuntimeMessage } from "../../codec/frame-runtime-message.ts";
import { recordIndex } from "../../codec/record.ts";
import type { HardState } from "../../core/action.ts";
import type { Message } from "../../core/message.ts";
import type { RaftNode } from "../../core/node.ts";
import type { LogIndex, NodeId, Term } from "../../core/position.ts";
import type { Role } from "../../core/role.ts";
import { describeAction, describeMessage } from "../../core/trace.ts";
import type { Diagnostics, DiagnosticsChannel } from "../../environment/environment.ts";
import type { LogWrite } from "../../storage/log-store.ts";
import type { Transport, TransportMessage } from "../../transport/transport.ts";

/** The names of the channels, and what is published on each. */
export const DIAGNOSTICS_CHANNELS = {
  /** `LogEvent`: what `onLog` gets. */
  log: "keelson:log",
  /** `ElectionDiagnostics`: after each change of a node's role, term or leader. */
  election: "keelson:election",
  /** `MessageDiagnostics`: each message that a node sends or receives. */
  message: "keelson:message",
  /** `StorageDiagnostics`: each write to a node's log, when it is durable. */
  storage: "keelson:storage",
} as const;

/** Published on `keelson:election`. */
export interface ElectionDiagnostics {
  readonly id: NodeId;
  readonly role: Role;
  readonly term: Term;
  /** null: none is known. */
  readonly leader: NodeId | null;
  /** The same as a line for people. */
  readonly text: string;
}

/** Published on `keelson:message`. It holds no command and no result, only their sizes. */
export interface MessageDiagnostics {
  readonly id: NodeId;
  /** "dropped": it was to be sent, and there is no connection, or its queue is full. */
  readonly direction: "sent" | "dropped" | "received";
  readonly peer: NodeId;
  readonly type: (Message | RuntimeMessage)["type"];
  /** The message of the Raft algorithm; null: it carries a forwarded call, or part of a snapshot. */
  readonly message: Message | null;
  /** Bytes of the entries, of the forwarded command or result, or of the part of a snapshot. */
  readonly bytes: number;
  /** The same as a line for people, made when it is read. */
  readonly text: string;
}

/** Published on `keelson:storage`. */
export interface StorageDiagnostics {
  readonly id: NodeId;
  /** The term and the vote that were written; null: they didn't change. */
  readonly hardState: HardState | null;
  /** The entries from this one on were removed first; null: none were. */
  readonly truncateFrom: LogIndex | null;
  /** The entries that were written, `[from, to)`; none if both are equal. */
  readonly from: LogIndex;
  readonly to: LogIndex;
  /** Bytes of their records. */
  readonly bytes: number;
  /** From handing the write to the store until it was durable, in milliseconds. */
  readonly ms: number;
  /** The same as a line for people, made when it is read. */
  readonly text: string;
}

const NO_CHANNEL: DiagnosticsChannel = { hasSubscribers: false, publish: () => undefined };

/** Publishes what happens on one node. */
export class NodeDiagnostics {
  readonly #id: NodeId;
  readonly #election: DiagnosticsChannel;
  readonly #message: DiagnosticsChannel;
  readonly #storage: DiagnosticsChannel;

  /** `diagnostics`: undefined if the environment has no channels. */
  constructor(id: NodeId, diagnostics: Diagnostics | undefined) {
    this.#id = id;
    const channel = (name: string): DiagnosticsChannel => diagnostics?.channel(name) ?? NO_CHANNEL;
    this.#election = channel(DIAGNOSTICS_CHANNELS.election);
    this.#message = channel(DIAGNOSTICS_CHANNELS.message);
    this.#storage = channel(DIAGNOSTICS_CHANNELS.storage);
  }

  /** Role, term or leader have changed. */
  leadershipChanged({ role, term, leader }: Pick<RaftNode, "role" | "term" | "leader">): void {
    if (!this.#election.hasSubscribers) return;
    const text = `${role} term=${String(term)} leader=${leader ?? "none"}`;
    this.#election.publish({ id: this.#id, role, term, leader, text } satisfies ElectionDiagnostics);
  }

  received(transportMessage: TransportMessage): void {
    if (!this.#message.hasSubscribers) return;
    this.#publishMessage("received", transportMessage.message.from, transportMessage);
  }

  /** The sending side of a transport, which publishes what is sent. */
  senderOf(transport: Transport): Pick<Transport, "send"> {
    return {
      send: (to, transportMessage) => {
        const isTaken = transport.send(to, transportMessage);
        if (this.#message.hasSubscribers) {
          this.#publishMessage(isTaken ? "sent" : "dropped", to, transportMessage);
        }
        return isTaken;
      },
    };
  }

  /** A write to the log is durable. */
  written({ hardState, truncateFrom, records }: LogWrite, ms: number): void {
    if (!this.#storage.hasSubscribers) return;
    const [first] = records;
    const from = first === undefined ? (truncateFrom ?? 0) : recordIndex(first);
    const to = from + records.length;
    const published: StorageDiagnostics = {
      ...{ id: this.#id, hardState, truncateFrom, from, to, bytes: bytesOf(records), ms },
      get text(): string {
        const saved = hardState === null ? [] : [describeAction({ type: "save-hard-state", ...hardState })];
        const appended =
          truncateFrom === null && to === from
            ? []
            : [describeAction({ type: "append-entries", truncateFrom, from, to })];
        return `durable after ${ms.toFixed(2)} ms: ${[...saved, ...appended].join(", ")}`;
      },
    };
    this.#storage.publish(published);
  }

  #publishMessage(
    direction: MessageDiagnostics["direction"],
    peer: NodeId,
    { message, records }: TransportMessage,
  ): void {
    const core = isRuntimeMessage(message) ? null : message;
    const payload = "payload" in message ? message.payload.length : 0;
    const bytes = bytesOf(records) + payload;
    const published: MessageDiagnostics = {
      ...{ id: this.#id, direction, peer, type: message.type, message: core, bytes },
      get text(): string {
        const towards = direction === "received" ? "from" : "to";
        const what = core === null ? `${message.type} bytes=${String(bytes)}` : describeMessage(core);
        return `${direction} ${towards} ${peer}: ${what}`;
      },
    };
    this.#message.publish(published);
  }
}

function bytesOf(records: readonly Uint8Array[]): number {
  return records.reduce((sum, record) => sum + record.length, 0);
}
