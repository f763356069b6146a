/**
 * Counts the client connections of a node, HTTP and line together, and keeps them below the process's limit
 * of file descriptors.
 *
 * Hazard: each connection takes a descriptor. When none is left, the log can't open its next segment and
 * LevelDB can't open a table, so idle clients would stop the node. So a part of the descriptors is reserved
 * for the node itself, and clients get the rest.
 */
import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { isLoopback } from "./addresses.ts";

/** The most client connections, if descriptors allow. Each costs a few kilobytes even while it is idle. */
const CONNECTIONS_MAX = 4352;
/**
 * Descriptors that clients never get: for the log (up to 64) and snapshot files, 74 tables of LevelDB
 * (`OPEN_FILES_MAX` in `store/level-database.ts`) and its own files, the other nodes' connections, the
 * listening sockets, and those of Node itself.
 */
const DESCRIPTORS_RESERVED = 224;
/**
 * The least number of connections. It counts if the process may open so few descriptors that the reserve
 * would leave less for clients: few clients are better than none.
 */
const CONNECTIONS_MIN = 8;
/**
 * How many of the connections are reserved for programs on this machine, so that an operator gets through.
 */
const LOCAL_RESERVED_MAX = 16;

/**
 * How many client connections a process may have that may have `descriptors` open. `descriptors` null: there
 * is no known limit on them.
 */
export function connectionsMaxFor(descriptors: number | null): number {
  if (descriptors === null) return CONNECTIONS_MAX;
  return Math.min(CONNECTIONS_MAX, Math.max(CONNECTIONS_MIN, descriptors - DESCRIPTORS_RESERVED));
}

/**
 * The process's limit of open descriptors. Node raises the soft limit to the hard one when it starts. null:
 * there is none, or the system doesn't say: only Linux has this file, and other systems' limits are seldom
 * low.
 */
export function descriptorLimit(): number | null {
  try {
    const limits = readFileSync("/proc/self/limits", "utf8");
    const soft = /^Max open files\s+(\d+)\s/m.exec(limits)?.[1];
    return soft === undefined ? null : Number(soft);
  } catch {
    return null;
  }
}

/** Ends one connection that is idle or whose client stalls. False: there is none. */
type EvictIdle = () => boolean;

/** The connections of all clients of a node. */
export class ClientConnections {
  readonly max: number;
  readonly #onFull: (text: string) => void;
  readonly #sockets = new Set<Socket>();
  readonly #evictors: EvictIdle[] = [];
  #hasTold = false;

  /** `onFull`: told once, when the first connection is refused. */
  constructor(
    max: number = connectionsMaxFor(descriptorLimit()),
    onFull: (text: string) => void = () => undefined,
  ) {
    this.max = max;
    this.#onFull = onFull;
  }

  get count(): number {
    return this.#sockets.size;
  }

  /**
   * Registers a server's function that makes room by ending one of its connections. Called when a client
   * connects and there is no room for it.
   */
  onMakeRoom(evictIdle: EvictIdle): void {
    this.#evictors.push(evictIdle);
  }

  /**
   * Counts the connection until it closes. False: there is no room, and no other connection could be ended
   * for it, so the caller must close it.
   */
  admit(socket: Socket): boolean {
    const isLocal = isLoopback(socket.remoteAddress ?? "");
    const max = isLocal ? this.max : this.max - Math.min(LOCAL_RESERVED_MAX, Math.floor(this.max / 4));
    if (this.#sockets.size >= max && !this.#evictors.some((evictIdle) => evictIdle())) {
      this.#tell();
      return false;
    }
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    return true;
  }

  /** Stops counting a connection that is being destroyed, before its "close" event says so. */
  forget(socket: Socket): void {
    this.#sockets.delete(socket);
  }

  #tell(): void {
    if (this.#hasTold) return;
    this.#hasTold = true;
    this.#onFull(
      `${this.#sockets.size} clients are connected, the most that this node takes; others are refused until some leave. ` +
        `${DESCRIPTORS_RESERVED} file descriptors are reserved for the node itself: raise the limit (ulimit -n) for more clients, up to ${CONNECTIONS_MAX}`,
    );
  }
}
