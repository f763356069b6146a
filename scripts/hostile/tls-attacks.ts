/** The attacks on handshakes, for `npm run hostile -- --tls`: below TLS, where no limit of HTTP counts. */
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";

import { safeKeyChanged, type Attack } from "./attacks.ts";
import { pause, type Port } from "./victims.ts";

/** The beginning of a ClientHello: a record of 512 bytes, and its first fields. */
const HELLO = Buffer.from("1603010200010001fc0303", "hex");

function onPort(port: Port): readonly Attack[] {
  return [
    {
      name: "unfinished: handshakes that stop after a few bytes, or before the first",
      port,
      isShort: true,
      run: async ({ client }) => {
        const below = client.belowTls();
        await below.connect(100);
        await below.unread(100, HELLO.subarray(0, 3));
        await below.unread(100, HELLO);
      },
    },
    {
      name: "slow: handshakes a byte at a time",
      port,
      run: async ({ client, scale }) => {
        const sockets = await client.belowTls().connect(100);
        const bytes = Buffer.concat([HELLO, Buffer.alloc(500)]);
        for (let at = 0; at < 200 * scale; at++) {
          for (const socket of sockets) if (socket.writable) socket.write(bytes.subarray(at, at + 1));
          await pause(50);
        }
      },
    },
    {
      name: "clear: requests and commands without TLS",
      port,
      isShort: true,
      run: async ({ client }) => {
        const below = client.belowTls();
        for (const text of [
          "PUT /kv/ship HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 6\r\n\r\nhacked",
          "put ship hacked\n",
        ]) {
          const answer = await below.ask(text);
          if (/HTTP\/1.1 2|^OK/i.test(answer)) throw new Error(`in the clear, the answer was ${answer}`);
        }
      },
      effect: safeKeyChanged,
    },
    {
      name: "renegotiating: a new handshake on a connection of TLS 1.2",
      port,
      isShort: true,
      run: async ({ client }) => {
        for (const socket of await client.connect(20, { maxVersion: "TLSv1.2" })) {
          if (await renegotiates(socket)) throw new Error("a client renegotiated");
        }
      },
    },
    {
      name: "churning: handshakes that are complete, and reset at once",
      port,
      run: async ({ client, scale }) => {
        for (let at = 0; at < 20 * scale; at++)
          for (const socket of await client.connect(50)) client.reset(socket);
      },
    },
  ];
}

/** Whether the server agreed to a new handshake on this connection. */
async function renegotiates(socket: Socket): Promise<boolean> {
  if (!(socket instanceof TLSSocket) || socket.destroyed) return false;
  const asked = new Promise<boolean>((resolve) => {
    socket.once("close", () => {
      resolve(false);
    });
    const began = socket.renegotiate({}, (error) => {
      resolve(error === null);
    });
    if (began === false) resolve(false);
  });
  return Promise.race([asked, pause(1000).then(() => false)]);
}

export const TLS_ATTACKS: readonly Attack[] = [...onPort("http"), ...onPort("line")];
