/*
 * Control messages: what the two ends of a connection say about the connection itself. They make up the
 * handshake (transport/handshake.ts has its steps), tell the reason for a close, and show that the peer is
 * alive.
 *
 * | type | message | body |
 * |---|---|---|
 * | 64 | hello | versionMin u16, versionMax u16, clusterId text, from identity, to id; then, |
 * | | | if any bytes are left, toStoreId text |
 * | 65 | welcome | version u16, clusterId text, from identity |
 * | 66 | goodbye | reason text |
 * | 67 | ping | |
 * | 68 | pong | |
 * | 69 | inquiry | versionMin u16, versionMax u16, clusterId text, from identity, to id |
 * | 70 | consent | |
 *
 * An identity is: id, storeId text, info text, address text, priority integer. byte-writer.ts has the
 * encodings of the fields, and the constants below the limits of the texts. Control messages have no tail.
 *
 * **Version.** These bodies must not change, because the two nodes read them before they have agreed on a
 * version.
 */
import type { NodeId } from "../core/position.ts";
import { DecodeError } from "../errors.ts";
import { cutText } from "./cut-text.ts";
import type { ByteReader } from "./byte-reader.ts";
import type { ByteWriter } from "./byte-writer.ts";

/** The most bytes (UTF-8) of a cluster's id. */
export const CLUSTER_ID_BYTES_MAX = 256;
/** The most bytes (UTF-8) of a store's id. */
export const STORE_ID_BYTES_MAX = 256;
/**
 * The most bytes (UTF-8) of the text that the application gives a node for others to read
 * (`RaftOptions.info`).
 */
export const INFO_BYTES_MAX = 4096;
/** The most bytes (UTF-8) of an address. */
export const ADDRESS_BYTES_MAX = 512;
/** The most bytes (UTF-8) of a goodbye's reason. A longer reason is cut off. */
export const REASON_BYTES_MAX = 1024;

/**
 * The most bytes of a control frame. Until the handshake is complete, longer frames are refused, so a peer
 * that is not known yet can't make this node hold more.
 */
export const HANDSHAKE_BYTES_MAX: number = 8 * 1024;

/** What a node says about itself in a handshake. `PeerInfo` explains the fields. */
export interface Identity {
  readonly id: NodeId;
  readonly storeId: string;
  readonly info: string;
  /** Where other nodes reach this one. */
  readonly address: string;
  /** How much this node should lead: leaders hand over to an up-to-date voter with a higher number. */
  readonly priority: number;
}

/** What a hello and an inquiry have in common. */
interface Greeting {
  /** The oldest version of the protocol that the sender speaks. */
  readonly versionMin: number;
  /** The newest version of the protocol that the sender speaks. */
  readonly versionMax: number;
  readonly clusterId: string;
  readonly from: Identity;
  /**
   * The node that the sender wants to reach. Any other node refuses: it may have got that node's address
   * since.
   */
  readonly to: NodeId;
}

/** The first frame on a connection, from the node that opened it, unless that is an inquiry. */
export interface Hello extends Greeting {
  readonly type: "hello";
  /**
   * The store id of node `to`, if the sender knows it. Only members know it, from their log, and nodes that
   * have completed a handshake with node `to`. So a receiver whose own log doesn't name the sender as a
   * member takes it as proof that the sender was accepted into the cluster. Absent: not known.
   */
  readonly toStoreId?: string;
}

/** The answer to a hello that was accepted. Messages may follow. */
export interface Welcome {
  readonly type: "welcome";
  /** The version of the protocol that both will use: the newest that both speak. */
  readonly version: number;
  readonly clusterId: string;
  readonly from: Identity;
}

/** The last frame before a deliberate close. The other end logs the reason. */
export interface Goodbye {
  readonly type: "goodbye";
  readonly reason: string;
}

/**
 * Asks for a pong. An end that receives nothing within its idle limit (`TcpLimits.idleMs`) closes the
 * connection: the other one is probably gone.
 */
export interface Ping {
  readonly type: "ping";
}

/** The answer to a ping. */
export interface Pong {
  readonly type: "pong";
}

/**
 * Asks whether the sender may create the cluster `clusterId` together with the node that it reaches. In place
 * of a hello, and the last frame of the sender but for a goodbye. The answer is a consent, or a goodbye.
 */
export interface Inquiry extends Greeting {
  readonly type: "inquiry";
}

/** The answer to an inquiry: this node has no objection. */
export interface Consent {
  readonly type: "consent";
}

/** A message about the connection itself. */
export type ControlMessage = Hello | Welcome | Goodbye | Ping | Pong | Inquiry | Consent;

/** The types of control messages on the wire, above those of all other messages. */
export const ControlMessageType = {
  hello: 64,
  welcome: 65,
  goodbye: 66,
  ping: 67,
  pong: 68,
  inquiry: 69,
  consent: 70,
} as const;

/** Writes the body, and returns the frame's type. */
export function writeControlMessage(writer: ByteWriter, control: ControlMessage): number {
  switch (control.type) {
    case "inquiry":
      writeGreeting(writer, control);
      break;
    case "hello":
      writeGreeting(writer, control);
      if (control.toStoreId !== undefined) writer.text(control.toStoreId, STORE_ID_BYTES_MAX);
      break;
    case "welcome":
      writer.u16(control.version);
      writer.text(control.clusterId, CLUSTER_ID_BYTES_MAX);
      writeIdentity(writer, control.from);
      break;
    case "goodbye":
      writer.text(shortened(control.reason), REASON_BYTES_MAX);
      break;
    case "ping":
    case "pong":
    case "consent":
      break;
  }
  return ControlMessageType[control.type];
}

/** Reads the body of a frame of this type. */
export function readControlMessage(type: number, body: ByteReader): ControlMessage {
  const control = readBody(type, body);
  body.end();
  return control;
}

function readBody(type: number, body: ByteReader): ControlMessage {
  switch (type) {
    case ControlMessageType.hello: {
      const hello: Hello = { type: "hello", ...readGreeting(body) };
      return body.isAtEnd ? hello : { ...hello, toStoreId: body.text(STORE_ID_BYTES_MAX) };
    }
    case ControlMessageType.welcome:
      return {
        type: "welcome",
        version: body.u16(),
        clusterId: body.text(CLUSTER_ID_BYTES_MAX),
        from: readIdentity(body),
      };
    case ControlMessageType.goodbye:
      return { type: "goodbye", reason: body.text(REASON_BYTES_MAX) };
    case ControlMessageType.ping:
      return { type: "ping" };
    case ControlMessageType.pong:
      return { type: "pong" };
    case ControlMessageType.inquiry:
      return { type: "inquiry", ...readGreeting(body) };
    case ControlMessageType.consent:
      return { type: "consent" };
    default:
      throw new DecodeError(`a frame has the unknown type ${String(type)}`);
  }
}

function writeGreeting(writer: ByteWriter, greeting: Greeting): void {
  writer.u16(greeting.versionMin);
  writer.u16(greeting.versionMax);
  writer.text(greeting.clusterId, CLUSTER_ID_BYTES_MAX);
  writeIdentity(writer, greeting.from);
  writer.id(greeting.to);
}

function readGreeting(body: ByteReader): Greeting {
  return {
    versionMin: body.u16(),
    versionMax: body.u16(),
    clusterId: body.text(CLUSTER_ID_BYTES_MAX),
    from: readIdentity(body),
    to: body.id(),
  };
}

function writeIdentity(writer: ByteWriter, identity: Identity): void {
  writer.id(identity.id);
  writer.text(identity.storeId, STORE_ID_BYTES_MAX);
  writer.text(identity.info, INFO_BYTES_MAX);
  writer.text(identity.address, ADDRESS_BYTES_MAX);
  writer.integer(identity.priority);
}

function readIdentity(body: ByteReader): Identity {
  return {
    id: body.id(),
    storeId: body.text(STORE_ID_BYTES_MAX),
    info: body.text(INFO_BYTES_MAX),
    address: body.text(ADDRESS_BYTES_MAX),
    priority: body.integer(),
  };
}

/** The reason, cut so that it takes at most `REASON_BYTES_MAX` bytes. */
function shortened(reason: string): string {
  // UTF-8 needs at most 3 bytes for each UTF-16 unit of a text.
  return reason.length * 3 <= REASON_BYTES_MAX ? reason : `${cutText(reason, REASON_BYTES_MAX / 3 - 3)}...`;
}
