/**
 * All of the outside world that the runtime, the log and the transport may touch: time, chance,
 * disk and network. Production passes Node's (`nodeEnvironment`); the simulator passes its own
 * and so runs the same code from one seed. Nothing above this file calls `Date`, `Math.random`,
 * `setTimeout`, `node:fs` or `node:net`.
 */
export interface Environment {
  /** Milliseconds on a clock that never goes back; its zero means nothing. */
  now(): number;
  /**
   * Milliseconds since 1970, as this machine takes the time to be: it may be wrong, and may jump. For
   * what nodes must say to each other of the time; never for measuring any.
   */
  wallClock(): number;
  /** A number in [0, 1). */
  random(): number;
  /** Calls back once, `delayMs` from now or later. */
  setTimer(delayMs: number, callback: () => void): Timer;
  /** Calls back at the end of this turn of the event loop, after all input that is ready now. */
  defer(callback: () => void): void;
  readonly files: FileSystem;
  readonly network: Network;
}

export interface Timer {
  cancel(): void;
}

/**
 * The file operations that the log uses. What a call promises when its promise resolves is said
 * with each; until `dataSync` (contents) or `syncDirectory` (names) resolves, a crash may keep
 * any part of what was done, or none. Failures reject with Node's error codes (`ENOENT`, `EIO`,
 * `ENOSPC`, ...).
 */
export interface FileSystem {
  /**
   * Opens a file. `create` makes a new one and fails with `EEXIST` if there is one; `write`
   * opens an existing one for reading and writing; `read` for reading only.
   */
  open(path: string, mode: "create" | "write" | "read"): Promise<FileHandle>;
  /** The names in a directory, in no particular order. */
  list(directory: string): Promise<string[]>;
  /** Makes a directory and those above it, durably; fine if it exists. */
  makeDirectory(path: string): Promise<void>;
  /** Removes a file. */
  remove(path: string): Promise<void>;
  /** Gives a file another name in one step, replacing a file that has it. */
  rename(from: string, to: string): Promise<void>;
  /** Makes the names in a directory durable: created, renamed and removed files. */
  syncDirectory(path: string): Promise<void>;
  /**
   * Takes a directory for this process alone until released or the process ends, however it
   * ends. Fails with `ELOCKED`, naming the holder if known.
   */
  lock(directory: string): Promise<FileLock>;
}

export interface FileLock {
  release(): Promise<void>;
}

export interface FileHandle {
  /** The size in bytes. */
  size(): Promise<number>;
  /** Fills `target` from `position`; resolves with the bytes read, fewer only at the end of the file. */
  read(target: Uint8Array, position: number): Promise<number>;
  /** Writes all of `chunks`, one after another, from `position` on; rejects if not all was written. */
  write(chunks: readonly Uint8Array[], position: number): Promise<void>;
  /** Sets aside `bytes` from the start of the file, the new ones zero, so that writes below move no metadata. */
  allocate(bytes: number): Promise<void>;
  /** Cuts the file to `bytes`. */
  truncate(bytes: number): Promise<void>;
  /** Makes all writes so far durable, and the size with them (`fdatasync`). After a failure nothing is known. */
  dataSync(): Promise<void>;
  close(): Promise<void>;
}

/** Streams of bytes between nodes. */
export interface Network {
  /** Accepts connections at `address` ("host:port", "[v6]:port"). Rejects if the address is taken. */
  listen(address: string, accept: (connection: Connection) => void): Promise<Listener>;
  /** Begins to connect; what goes wrong arrives as `onClose`. */
  connect(address: string): Connection;
}

export interface Listener {
  /** The address in use, with the port that was chosen if 0 was asked for. */
  readonly address: string;
  /** Stops accepting; connections that were accepted stay. */
  close(): Promise<void>;
}

/** One stream, in order and without gaps, until it closes. */
export interface Connection {
  /** Who is at the other end, for messages to people. */
  readonly peer: string;
  /** Set by the owner, at once after it got the connection. At most one call of `onClose`, the last of all. */
  handler: ConnectionHandler | null;
  /** Queues bytes; they belong to the connection from then on. */
  write(bytes: Uint8Array): void;
  /** Bytes queued and not yet taken by the operating system. */
  readonly bufferedBytes: number;
  /** Stops and resumes `onData`. */
  pause(): void;
  resume(): void;
  /** Closes at once; what is queued may be lost. */
  destroy(reason?: string): void;
}

export interface ConnectionHandler {
  /** The connection that `connect` began is up. */
  onOpen?(): void;
  /** Bytes, cut at arbitrary places; valid only during the call unless copied. */
  onData(bytes: Uint8Array): void;
  /** `bufferedBytes` fell to zero. */
  onDrain?(): void;
  onClose(reason: string): void;
}
