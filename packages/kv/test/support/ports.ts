import { once } from "node:events";
import { createServer } from "node:net";

// Below the range from which the system takes ports for outgoing connections. Otherwise a connection could
// take the port of a node that is down.
const FIRST = 10_000;
const END = 32_000;

/** Where to look next. Test files run in processes of their own; starting by process id keeps them apart. */
let next = FIRST + ((process.pid * 64) % (END - FIRST));

/** Consecutive ports that are free at the moment. */
export async function freePorts(count: number): Promise<number[]> {
  let ports: number[] = [];
  for (let tries = 0; tries < END - FIRST; tries++) {
    const port = next;
    next = port + 1 < END ? port + 1 : FIRST;
    if (port === FIRST || !(await isFree(port))) ports = [];
    else ports.push(port);
    if (ports.length === count) return ports;
  }
  throw new Error(`no ${count} free ports in a row from ${FIRST} to ${END}`);
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen({ host: "127.0.0.1", port, exclusive: true });
    await once(server, "listening");
    server.close();
    await once(server, "close");
    return true;
  } catch {
    return false;
  }
}
