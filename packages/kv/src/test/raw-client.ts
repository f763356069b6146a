import { once } from "node:events";
import { createConnection, type Socket } from "node:net";
import { onTestFinished } from "vitest";

/** Connects to "host:port". The connection is closed after the test, and its errors are ignored. */
export async function connectTo(address: string): Promise<Socket> {
  const colon = address.lastIndexOf(":");
  const socket = createConnection({ host: address.slice(0, colon), port: Number(address.slice(colon + 1)) });
  socket.on("error", () => undefined);
  onTestFinished(() => {
    socket.destroy();
  });
  await once(socket, "connect");
  return socket;
}

/** Sends the text as it is, and resolves with all that comes back until the server closes the connection. */
export async function exchange(address: string, text: string | Buffer): Promise<string> {
  const socket = await connectTo(address);
  socket.write(text);
  let answer = "";
  socket.on("data", (chunk: Buffer) => (answer += chunk.toString("latin1")));
  if (!socket.destroyed) await once(socket, "close");
  return answer;
}

/** The statuses of the answers in what came back over one connection. */
export function statusesIn(answers: string): number[] {
  return [...answers.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
}
