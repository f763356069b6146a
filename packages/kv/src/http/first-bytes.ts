/**
 * Tells by a connection's first byte which protocol its client speaks, before Node's HTTP parser gets it.
 *
 * Only the first byte of a connection decides, once. So nothing that a request of HTTP carries is ever taken
 * for the binary protocol, and no web page can speak it (docs/design/client-protocol.md).
 */
import type { Socket } from "node:net";
import { isOpening } from "../binary/frame-reader.ts";

/** What to do with a connection. Its bytes are still to be read. */
export interface ProtocolHandlers {
  readonly onHttp: () => void;
  readonly onBinary: () => void;
}

/** As Node answers a client that doesn't send the headers of a request in time. */
const TIMED_OUT = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n";

/** How long the client may take to close its end then. */
const LINGER_MS = 1000;

/** Waits for the first byte, for `timeoutMs` at most, and hands the connection over. */
export function byFirstByte(socket: Socket, timeoutMs: number, { onHttp, onBinary }: ProtocolHandlers): void {
  const timer = setTimeout(() => {
    forget();
    socket.end(TIMED_OUT);
    const lingering = setTimeout(() => {
      socket.destroy();
    }, LINGER_MS);
    socket.once("close", () => {
      clearTimeout(lingering);
    });
  }, timeoutMs);
  const forget = (): void => {
    clearTimeout(timer);
    socket.off("data", onData).off("end", onGone).off("close", forget);
  };
  // Without a byte there is nobody to answer.
  const onGone = (): void => {
    forget();
    socket.destroy();
  };
  const onData = (chunk: Buffer): void => {
    forget();
    // The next owner reads these bytes first. Without the pause, they could be emitted before it listens.
    socket.pause();
    socket.unshift(chunk);
    if (isOpening(chunk)) onBinary();
    else onHttp();
    socket.resume();
  };
  // A broken connection without a listener would end the process. The next owner has its own listener.
  socket.on("error", ignore);
  socket.on("data", onData).on("end", onGone).on("close", forget);
}

function ignore(): void {
  // The "close" event follows.
}
