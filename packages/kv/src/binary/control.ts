/**
 * Frames about the connection itself, as bytes: hello, welcome, ping, pong and goodbye. Each is alone in its
 * frame. docs/design/client-protocol.md has the table of bytes.
 */
import { FrameWriter } from "./frame-writer.ts";
import { FRAMES, getU64, PAYLOAD_HEADER_BYTES, ProtocolError, setU64 } from "./wire.ts";

/** The client's first frame. */
export interface Hello {
  /** What the client can do beyond version 1, a bit for each. None is defined yet. */
  readonly features: number;
  /** null: the client sends no token. */
  readonly token: string | null;
}

/** The server's first frame: what the client has to keep to. */
export interface Welcome {
  /** Of the client's features, those that the server has too. */
  readonly features: number;
  /** The most bytes of a payload that the server takes. */
  readonly frameBytesMax: number;
  /** The most calls in progress on the connection. With as many, the server reads no further frame. */
  readonly callsMax: number;
  /** Milliseconds without a byte from the client after which the server ends an idle connection. */
  readonly idleMs: number;
}

/** An end's last frame. */
export interface Goodbye {
  /** Stable, for programs. "" if the end just leaves. */
  readonly code: string;
  /** For people. */
  readonly message: string;
  /**
   * From a server: how many frames with calls it took. Calls in later ones had no effect and won't have one.
   * Those in the frames that it took are answered before the connection ends. From a client: 0.
   */
  readonly framesTaken: number;
}

/** Writes these frames. The writers of calls and answers can too, so that one write carries both. */
export class ControlWriter extends FrameWriter {
  hello({ features, token }: Hello): void {
    const text = token ?? "";
    const length = Buffer.byteLength(text);
    const at = this.lone(FRAMES.hello, 6 + length);
    this.view.setUint32(at, features, true);
    this.view.setUint16(at + 4, length, true);
    this.text(text, at + 6);
  }

  welcome({ features, frameBytesMax, callsMax, idleMs }: Welcome): void {
    const at = this.lone(FRAMES.welcome, 16);
    this.view.setUint32(at, features, true);
    this.view.setUint32(at + 4, frameBytesMax, true);
    this.view.setUint32(at + 8, callsMax, true);
    this.view.setUint32(at + 12, idleMs, true);
  }

  ping(number: number): void {
    const at = this.lone(FRAMES.ping, 8);
    setU64(this.view, at, number);
  }

  pong(number: number): void {
    const at = this.lone(FRAMES.pong, 8);
    setU64(this.view, at, number);
  }

  goodbye({ code, message, framesTaken }: Goodbye): void {
    const cut = message.slice(0, MESSAGE_UNITS_MAX);
    const [codeLength, messageLength] = [Buffer.byteLength(code), Buffer.byteLength(cut)];
    const at = this.lone(FRAMES.goodbye, 12 + codeLength + messageLength);
    setU64(this.view, at, framesTaken);
    this.view.setUint16(at + 8, codeLength, true);
    this.view.setUint16(at + 10, messageLength, true);
    this.text(code, at + 12);
    this.text(cut, at + 12 + codeLength);
  }
}

/** @throws ProtocolError */
export function readHello(payload: Uint8Array): Hello {
  const view = viewOf(payload, 6);
  const token = textAt(payload, BODY + 6, view.getUint16(BODY + 4, true));
  return { features: view.getUint32(BODY, true), token: token === "" ? null : token };
}

/** @throws ProtocolError */
export function readWelcome(payload: Uint8Array): Welcome {
  const view = viewOf(payload, 16);
  return {
    features: view.getUint32(BODY, true),
    frameBytesMax: view.getUint32(BODY + 4, true),
    callsMax: view.getUint32(BODY + 8, true),
    idleMs: view.getUint32(BODY + 12, true),
  };
}

/** The number in a ping or a pong. @throws ProtocolError */
export function readPing(payload: Uint8Array): number {
  return getU64(viewOf(payload, 8), BODY);
}

/** @throws ProtocolError */
export function readGoodbye(payload: Uint8Array): Goodbye {
  const view = viewOf(payload, 12);
  const codeLength = view.getUint16(BODY + 8, true);
  const messageLength = view.getUint16(BODY + 10, true);
  return {
    framesTaken: getU64(view, BODY),
    code: textAt(payload, BODY + 12, codeLength),
    message: textAt(payload, BODY + 12 + codeLength, messageLength),
  };
}

const BODY = PAYLOAD_HEADER_BYTES;
const MESSAGE_UNITS_MAX = 4096;
const UTF8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** What follows the body is of a later version, and ignored. */
function viewOf(payload: Uint8Array, bodyBytes: number): DataView {
  if (payload.length < BODY + bodyBytes) throw cutShort();
  return new DataView(payload.buffer, payload.byteOffset, payload.length);
}

function textAt(payload: Uint8Array, at: number, length: number): string {
  if (at + length > payload.length) throw cutShort();
  return UTF8.decode(payload.subarray(at, at + length));
}

function cutShort(): ProtocolError {
  return new ProtocolError("BAD_FRAME", "a frame about the connection is shorter than its parts");
}
