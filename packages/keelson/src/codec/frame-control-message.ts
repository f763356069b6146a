import type { NodeId } from "../core/position.ts";
import { DecodeError } from "../errors.ts";
import type { ByteReader } from "./byte-reader.ts";
import type { ByteWriter } from "./byte-writer.ts";

/** Bytes (UTF-8) of the texts in a handshake: enough for any sensible one, and little to hold for a stranger. */
export const CLUSTER_ID_BYTES_MAX = 256;
export const STORE_ID_BYTES_MAX = 256;
export const DATA_BYTES_MAX = 4096;
export const ADDRESS_BYTES_MAX = 512;
/** A reason that is longer is cut off. */
export const REASON_BYTES_MAX = 1024;

/** No frame of a handshake is longer, and nothing longer is held for somebody who has not passed it. */
export const HANDSHAKE_BYTES_MAX = 8 * 1024;

/** Who speaks: both ends of a connection tell it. */
export interface Identity {
  readonly id: NodeId;
  readonly storeId: string;
  readonly data: string;
  /** Where others reach this node. */
  readonly address: string;
  /** How much it should lead, compared with others. */
  readonly priority: number;
}

/** The first frame of who dialled: nothing else is looked at before it was answered. */
export interface Hello {
  readonly type: "hello";
  /** The versions of the protocol that the dialler speaks, from and to, both included. */
  readonly versionMin: number;
  readonly versionMax: number;
  readonly clusterId: string;
  readonly from: Identity;
  /** Whom it means to reach: an address may have changed hands. */
  readonly to: NodeId;
}

/** The answer that lets messages follow. */
export interface Welcome {
  readonly type: "welcome";
  /** The version that both will use. */
  readonly version: number;
  readonly clusterId: string;
  readonly from: Identity;
}

/** The last frame of a connection that is closed on purpose, for the people at the other end. */
export interface Goodbye {
  readonly type: "goodbye";
  readonly reason: string;
}

/** "Are you there?" and "I am": how an end that vanished without a word is noticed. */
export interface Ping {
  readonly type: "ping";
}
/** The answer to a ping. */
export interface Pong {
  readonly type: "pong";
}

/** What the ends of a connection say about the connection itself. */
export type ControlMessage = Hello | Welcome | Goodbye | Ping | Pong;

/** Numbers on the wire; those below are messages of the core. */
export const ControlMessageType = { hello: 64, welcome: 65, goodbye: 66, ping: 67, pong: 68 } as const;

/** Writes the body and returns the type. */
export function writeControlMessage(writer: ByteWriter, control: ControlMessage): number {
  switch (control.type) {
    case "hello":
      writer.u16(control.versionMin);
      writer.u16(control.versionMax);
      writer.text(control.clusterId, CLUSTER_ID_BYTES_MAX);
      writeIdentity(writer, control.from);
      writer.id(control.to);
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
      break;
  }
  return ControlMessageType[control.type];
}

export function readControlMessage(type: number, body: ByteReader): ControlMessage {
  const control = readBody(type, body);
  body.end();
  return control;
}

function readBody(type: number, body: ByteReader): ControlMessage {
  switch (type) {
    case ControlMessageType.hello:
      return {
        type: "hello",
        versionMin: body.u16(),
        versionMax: body.u16(),
        clusterId: body.text(CLUSTER_ID_BYTES_MAX),
        from: readIdentity(body),
        to: body.id(),
      };
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
    default:
      throw new DecodeError(`a frame has the unknown type ${String(type)}`);
  }
}

function writeIdentity(writer: ByteWriter, identity: Identity): void {
  writer.id(identity.id);
  writer.text(identity.storeId, STORE_ID_BYTES_MAX);
  writer.text(identity.data, DATA_BYTES_MAX);
  writer.text(identity.address, ADDRESS_BYTES_MAX);
  writer.integer(identity.priority);
}

function readIdentity(body: ByteReader): Identity {
  return {
    id: body.id(),
    storeId: body.text(STORE_ID_BYTES_MAX),
    data: body.text(DATA_BYTES_MAX),
    address: body.text(ADDRESS_BYTES_MAX),
    priority: body.integer(),
  };
}

function shortened(reason: string): string {
  // A character takes at most 3 bytes for each of its UTF-16 units.
  return reason.length * 3 <= REASON_BYTES_MAX ? reason : `${reason.slice(0, REASON_BYTES_MAX / 3 - 3)}...`;
}
