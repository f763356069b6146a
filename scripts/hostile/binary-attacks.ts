/** The attacks on the binary protocol, which is spoken on the HTTP port: as the table in attacks.ts. */
import { CallWriter } from "../../packages/kv/src/binary/calls.ts";
import { FRAME_CALLS_MAX } from "../../packages/kv/src/binary/wire.ts";
import { LARGE_KEY, SAFE_KEY, safeKeyChanged, VALUE_BYTES, type Attack } from "./attacks.ts";
import { pause } from "./victims.ts";

/** The opening, a hello, and what `write` writes. */
function speech(write: (writer: CallWriter) => void = () => undefined): Buffer {
  const writer = new CallWriter();
  writer.opening();
  writer.hello({ features: 0, token: null });
  write(writer);
  return writer.take();
}

const LARGE = Buffer.from(LARGE_KEY);
const HOSTILE = Buffer.from("hostile");

function gets(count: number): Buffer {
  return speech((writer) => {
    for (let id = 0; id < count; id++) writer.get(id, LARGE, "linearizable", null);
  });
}

/** A frame of the largest value, without its last byte. */
function unfinished(): Buffer {
  const bytes = speech((writer) => {
    writer.put(1, HOSTILE, Buffer.alloc(VALUE_BYTES, 0x76), null, null);
  });
  return bytes.subarray(0, -1);
}

export const BINARY: readonly Attack[] = [
  {
    name: "binary silent: openings without a hello, and hellos without a call",
    port: "http",
    run: async ({ client }) => {
      await client.unread(200, speech().subarray(0, 9));
      await client.unread(200, speech());
    },
  },
  {
    name: "binary announcing: frames of two megabytes that never come",
    port: "http",
    isShort: true,
    run: ({ client }) =>
      client.unread(300, Buffer.concat([speech(), Buffer.from("000020000000000002", "hex")])),
  },
  {
    name: "binary stopping: frames without their last byte",
    port: "http",
    run: ({ client }) => client.unread(130, unfinished()),
  },
  {
    name: "binary piecemeal: a frame in packets of a byte",
    port: "http",
    run: async ({ client, scale }) => {
      const bytes = unfinished().subarray(0, 100_000 * scale);
      for (const socket of await client.connect(3)) {
        const pieces = Array.from(bytes, (byte) => Buffer.of(byte));
        await client.piecemeal(socket, pieces);
      }
    },
  },
  {
    name: "binary pipelining: thousands of gets of a large value, no answer read",
    port: "http",
    isShort: true,
    run: ({ client }) => client.unread(40, gets(4 * FRAME_CALLS_MAX)),
  },
  {
    name: "binary pipelining: puts, no answer read",
    port: "http",
    run: ({ client }) => {
      const puts = speech((writer) => {
        for (let id = 0; id < 20_000; id++) writer.put(id, HOSTILE, HOSTILE, null, null);
      });
      return client.unread(20, puts);
    },
  },
  {
    name: "binary crowding: frames of the most calls there may be, of the smallest kind",
    port: "http",
    run: async ({ client, scale }) => {
      const frames = speech((writer) => {
        for (let id = 0; id < 10 * FRAME_CALLS_MAX; id++) writer.endSession(id, 0);
      });
      for (let at = 0; at < 10 * scale; at++) for (let one = 0; one < 4; one++) await client.ask(frames, 500);
    },
  },
  {
    name: "binary garbage: wrong checksums, types, lengths and openings",
    port: "http",
    isShort: true,
    run: async ({ client }) => {
      const valid = speech((writer) => {
        writer.delete(1, Buffer.from(SAFE_KEY), null, null);
      });
      // Every byte of the frame with the call is changed in turn. The answer must be a goodbye, or none.
      const from = speech().length;
      for (let at = from; at < valid.length; at++) {
        const bytes = Buffer.from(valid);
        bytes[at] = (bytes[at] ?? 0) ^ 0x41;
        await client.ask(bytes, 100);
      }
      for (let at = 0; at < 8; at++) {
        const bytes = Buffer.from(valid);
        bytes[at] = (bytes[at] ?? 0) ^ 0x41;
        await client.ask(bytes, 300);
      }
      await client.ask(Buffer.concat([speech(), Buffer.alloc(1_000_000, 0xff)]));
    },
    effect: safeKeyChanged,
  },
  {
    name: "binary browser: a page's request with the protocol's bytes in its body",
    port: "http",
    isShort: true,
    run: async ({ client }) => {
      const frames = speech((writer) => {
        writer.put(1, Buffer.from(SAFE_KEY), Buffer.from("hacked"), null, null);
      }).toString("latin1");
      const headers = "Host: 127.0.0.1\r\nOrigin: http://evil.example\r\nContent-Type: text/plain\r\n";
      for (const length of [0, frames.length]) {
        const post = `POST /kv/x HTTP/1.1\r\n${headers}Content-Length: ${length}\r\n\r\n${frames}`;
        await client.ask(Buffer.from(post, "latin1"), 500);
      }
      await client.ask(Buffer.from(`\r\n${frames}`, "latin1"), 500);
      await client.ask(Buffer.from(`PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${frames}`, "latin1"), 500);
    },
    effect: safeKeyChanged,
  },
  {
    name: "binary churning: connections that are reset with calls in progress",
    port: "http",
    run: async ({ client, scale }) => {
      const calls = gets(100);
      for (let at = 0; at < 20 * scale; at++) {
        for (const socket of await client.connect(50)) {
          socket.write(calls);
          await pause(0);
          socket.resetAndDestroy();
        }
      }
    },
  },
];
