/** Stands in for a node: answers calls as a test says, over HTTP or in the binary protocol. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTcpServer, type Socket } from "node:net";
import { onTestFinished } from "vitest";
import { AnswerWriter } from "../binary/answers.ts";
import { CallReader, type Call } from "../binary/calls.ts";
import { readHello, type Welcome } from "../binary/control.ts";
import { FrameReader } from "../binary/frame-reader.ts";
import { FRAME_BYTES_MAX, FRAMES, ProtocolError } from "../binary/wire.ts";
import { targetOfKey } from "../http/request-syntax.ts";
import { listen } from "../shared/listen.ts";
import { ANY_PORT } from "./serving.ts";

/** A call as the stub has received it, and ways to answer it. */
export interface StubCall {
  /** As HTTP writes it: "PUT /kv/a". */
  readonly request: string;
  /** Session, sequence and lowest unanswered number: "7/1/1", or "//" if it belongs to no session. */
  readonly session: string;
  readonly hasToken: boolean;
  /** The answer to a put: index 0 and version 2. */
  readonly succeed: () => void;
  readonly value: (version: number, value: string) => void;
  readonly opened: (session: number) => void;
  readonly ended: () => void;
  readonly fail: (status: number, code: string, outcome: Outcome, location?: string) => void;
  /** Destroys the connection. */
  readonly cut: () => void;
}

export type StubHandler = (call: StubCall, count: number) => void;
type Outcome = "not-done" | "unknown" | "done";

/** A stub that is listening. */
export interface Stub {
  readonly address: string;
  /** How many calls have come. */
  readonly count: () => number;
}

/** A server that answers calls as `handler` says, and counts them. */
export function stubNode(protocol: "http" | "binary", handler: StubHandler): Promise<Stub> {
  return protocol === "http" ? httpStub(handler) : binaryStub(handler);
}

async function httpStub(handler: StubHandler): Promise<Stub> {
  let count = 0;
  const server = createServer((request, response) => {
    request.resume();
    count += 1;
    handler(httpCall(request, response), count);
  });
  const { port } = await listen(server, ANY_PORT);
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { address: `127.0.0.1:${port}`, count: () => count };
}

function httpCall(request: IncomingMessage, response: ServerResponse): StubCall {
  const header = (name: string): string => String(request.headers[`keelson-${name}`] ?? "");
  return {
    request: `${request.method ?? ""} ${request.url ?? ""}`,
    session: `${header("session")}/${header("sequence")}/${header("unanswered")}`,
    hasToken: request.headers.authorization !== undefined,
    succeed: () => void response.end('{"index":0,"version":2}'),
    value: (version, value) => void response.writeHead(200, { etag: `"${version}"` }).end(value),
    opened: (session) => void response.writeHead(201).end(`{"session":${session},"ttlMs":60000}`),
    ended: () => void response.writeHead(204).end(),
    fail: (status, code, outcome, location) => {
      response.writeHead(status, location === undefined ? {} : { location });
      response.end(JSON.stringify({ error: { code, message: code, outcome } }));
    },
    cut: () => request.socket.destroy(),
  };
}

async function binaryStub(handler: StubHandler): Promise<Stub> {
  let count = 0;
  const stub = await BinaryStub.listen({
    onCalls: (connection, calls) => {
      for (const call of calls) {
        count += 1;
        handler(binaryCall(connection, call), count);
      }
    },
  });
  return { address: stub.address, count: () => count };
}

function binaryCall(connection: StubConnection, call: Call): StubCall {
  const session = "session" in call && typeof call.session === "object" ? call.session : null;
  const place = session === null ? "//" : `${session.id}/${session.sequence}/${session.lowestUnanswered}`;
  const { writer } = connection;
  const send = (write: () => void) => () => {
    write();
    connection.send();
  };
  return {
    request: requestOf(call),
    session: place,
    hasToken: connection.token !== null,
    succeed: send(() => {
      if (call.type === "delete") writer.deleted(call.id, 0, true);
      else writer.put(call.id, 0, 2);
    }),
    value: (version, value) => {
      send(() => writer.value(call.id, version, Buffer.from(value), null))();
    },
    opened: (id) => {
      send(() => writer.session(call.id, id, 60_000))();
    },
    ended: send(() => writer.ended(call.id)),
    fail: (status, code, outcome, location) => {
      send(() => {
        const leader = location === undefined ? null : location.replace(/\/kv\/.*$/, "");
        const error = { status, code, message: code, outcome, leader, version: null, retryAfterMs: 0 };
        writer.error(call.id, error);
      })();
    },
    cut: () => connection.socket.destroy(),
  };
}

function requestOf(call: Call): string {
  switch (call.type) {
    case "put":
      return `PUT ${targetOfKey(call.key)}`;
    case "delete":
      return `DELETE ${targetOfKey(call.key)}`;
    case "get":
      return `GET ${targetOfKey(call.key)}`;
    case "open-session":
      return "POST /sessions";
    case "end-session":
      return `DELETE /sessions/${call.session}`;
    default:
      return call.type;
  }
}

/** What a binary stub does. */
export interface BinaryStubOptions {
  /** All calls of one frame. Default: they get no answer. */
  readonly onCalls?: (connection: StubConnection, calls: readonly Call[]) => void;
  /** Instead of the opening bytes and the welcome, when the client's hello has come. */
  readonly onHello?: (connection: StubConnection) => void;
  /** A ping. Default: it is answered. */
  readonly onPing?: (connection: StubConnection, number: number) => void;
  readonly welcome?: Partial<Welcome>;
  /** Default: any. */
  readonly port?: number;
}

/** A connection to a binary stub. */
export interface StubConnection {
  readonly socket: Socket;
  readonly writer: AnswerWriter;
  /** Sends what was written. */
  readonly send: () => void;
  /** As the hello says. */
  token: string | null;
}

/** A server of the binary protocol that a test can make misbehave. */
export class BinaryStub {
  readonly address: string;
  /** All connections that there were, in order. */
  readonly connections: StubConnection[];
  /** How many calls each frame had. */
  readonly frames: number[];
  private constructor(address: string, connections: StubConnection[], frames: number[]) {
    this.address = address;
    this.connections = connections;
    this.frames = frames;
  }

  static async listen(options: BinaryStubOptions = {}): Promise<BinaryStub> {
    const connections: StubConnection[] = [];
    const frames: number[] = [];
    const server = createTcpServer((socket) => {
      const writer = new AnswerWriter();
      const connection: StubConnection = {
        socket,
        writer,
        token: null,
        send: () => void socket.write(writer.take()),
      };
      connections.push(connection);
      socket.on("error", () => undefined);
      receive(connection, options, frames);
    });
    const { port } = await listen(server, { ...ANY_PORT, port: options.port ?? 0 });
    onTestFinished(() => {
      for (const { socket } of connections) socket.destroy();
      server.close();
    });
    return new BinaryStub(`127.0.0.1:${port}`, connections, frames);
  }
}

function receive(connection: StubConnection, options: BinaryStubOptions, frames: number[]): void {
  const reader = new FrameReader();
  let isOpened = false;
  const read = (chunk: Buffer): void => {
    reader.push(chunk);
    if (!isOpened) {
      if (reader.opening() === "incomplete") return;
      isOpened = true;
    }
    for (;;) {
      const frame = reader.next(FRAME_BYTES_MAX);
      if (typeof frame === "string") return;
      take(connection, options, frames, frame.type, frame.payload);
    }
  };
  connection.socket.on("data", (chunk) => {
    try {
      read(chunk);
    } catch (error) {
      // The client has sent HTTP, or a test cut a frame short.
      if (!(error instanceof ProtocolError)) throw error;
      connection.socket.destroy();
    }
  });
}

const WELCOME: Welcome = { features: 0, frameBytesMax: FRAME_BYTES_MAX, callsMax: 65_536, idleMs: 600_000 };

function take(
  connection: StubConnection,
  options: BinaryStubOptions,
  frames: number[],
  type: number,
  payload: Uint8Array,
): void {
  if (type === FRAMES.hello) {
    connection.token = readHello(payload).token;
    if (options.onHello !== undefined) options.onHello(connection);
    else welcome(connection, options.welcome);
  } else if (type === FRAMES.ping) {
    const number = Number(new DataView(payload.buffer, payload.byteOffset + 4).getBigUint64(0, true));
    if (options.onPing !== undefined) options.onPing(connection, number);
    else {
      connection.writer.pong(number);
      connection.send();
    }
  } else if (type === FRAMES.calls) {
    const calls: Call[] = [];
    const reader = new CallReader(payload);
    for (let call = reader.next(); call !== null; call = reader.next()) calls.push(call);
    frames.push(calls.length);
    options.onCalls?.(connection, calls);
  }
}

/** Sends the opening bytes and the welcome. */
export function welcome({ writer, socket }: StubConnection, changes: Partial<Welcome> = {}): void {
  writer.opening();
  writer.welcome({ ...WELCOME, ...changes });
  socket.write(writer.take());
}
