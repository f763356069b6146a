/**
 * Everything outside the process's memory that the runtime, the storage and the transport may use: time,
 * randomness, files and network. Production passes Node's (`nodeEnvironment`). Tests and the simulator pass a
 * simulated one, and run the same code from one seed. This file imports nothing, and nothing outside this
 * folder calls `Date`, `performance`, `Math.random`, `setTimeout`, `node:fs` or `node:net`.
 */
export interface Environment {
  /**
   * Milliseconds on a monotonic clock: it never goes back, and isn't changed when the machine's time is set.
   * Its zero is arbitrary, so only differences between two readings of the same process mean something.
   * Measure time with it.
   */
  now(): number;
  /**
   * Milliseconds since 1970, as this machine believes. It may be wrong, and may jump in either direction.
   * Only for times that nodes tell each other; never measure time with it.
   */
  wallClock(): number;
  /** A number in [0, 1). Not for secrets. */
  random(): number;
  /**
   * Bytes that nobody can predict, for secrets and nonces. A simulated environment makes them from its seed.
   */
  randomBytes(count: number): Uint8Array;
  /**
   * Calls back once, about `delayMs` from now, and never within the call. It may be late by any amount: the
   * process may be busy or stopped. It may also be early by up to a millisecond, because Node's timers count
   * whole milliseconds. Where that matters, compare `now()` with the deadline in the callback. With a delay
   * of 0 or less it calls back as soon as possible, with Infinity never. There is no longest delay.
   *
   * Timers with equal delays fire in the order in which they were set. Of two with different delays that both
   * became due while the process was busy or stopped, either may fire first.
   */
  setTimer(delayMs: number, callback: () => void): Timer;
  /**
   * Calls back once at the end of this turn of the event loop, after all input that is ready now, and in the
   * order of the calls. What such a callback defers itself is called in the next turn. Can't be cancelled.
   */
  defer(callback: () => void): void;
  readonly files: FileSystem;
  readonly network: Network;
  /** Named channels for tools that follow a running program. Absent: there are none. */
  readonly diagnostics?: Diagnostics | undefined;
}

/**
 * Channels by name, as of `node:diagnostics_channel`: who publishes and who subscribes don't know each other.
 */
export interface Diagnostics {
  /** The channel with this name: the same one at each call. */
  channel(name: string): DiagnosticsChannel;
}

/** A channel, as its publishers see it. */
export interface DiagnosticsChannel {
  /** Cheap to read. While it is false, publishers don't even make what they would publish. */
  readonly hasSubscribers: boolean;
  /** Calls all subscribers, at once. */
  publish(message: unknown): void;
}

/** A timer that was set. */
export interface Timer {
  /** After this the callback is not called any more. Does nothing if it was called already. */
  cancel(): void;
}

/**
 * The file operations that the storage uses.
 *
 * **Visible and durable.** What an operation did is visible to later operations as soon as its promise
 * resolves, and it survives the process's end. It survives a crash of the machine only after a sync: a file's
 * contents and size after `FileHandle.dataSync`, the bytes of one write after `FileHandle.writeDurably`,
 * names (created, renamed, removed files) after `syncDirectory`. Of what was not synced, a crash keeps any
 * part: some sectors of a write and not others, the new size without the contents, the second of two renames
 * without the first.
 *
 * **Failures.** A promise rejects with Node's error codes (`ENOENT`, `EEXIST`, `EIO`, `ENOSPC`, ...). After a
 * failed write or sync, any part of it may have been done.
 */
export interface FileSystem {
  /**
   * Opens a file. "create" makes a new file, to read and write, and fails with `EEXIST` if the name is taken;
   * its name becomes durable by `syncDirectory`. "write" opens an existing file to read and write, "read" to
   * read only; both fail with `ENOENT` if there is none.
   */
  open(path: string, mode: "create" | "write" | "read"): Promise<FileHandle>;
  /** The names in a directory, in no particular order. */
  list(directory: string): Promise<string[]>;
  /** Makes a directory, and those above it, and makes their names durable. Resolves if they exist already. */
  makeDirectory(path: string): Promise<void>;
  /** Removes a file. Durable after `syncDirectory`; until then a crash may bring it back. */
  remove(path: string): Promise<void>;
  /**
   * Gives a file another name in the same directory, and replaces a file that has that name. Atomic: others,
   * and a crash, see either the old state or the new one. Durable after `syncDirectory`.
   */
  rename(from: string, to: string): Promise<void>;
  /** Makes all changes of names in a directory durable. */
  syncDirectory(path: string): Promise<void>;
  /**
   * Locks a directory for this process, until `release` or until the process ends in whatever way. Rejects
   * with `ELOCKED` if another process, or an earlier call, holds the lock; the message names the holder.
   * Processes in other containers count as well. The default mode is "exclusive". May leave the files of
   * lock-files.ts in the directory.
   */
  lock(directory: string, mode?: LockMode): Promise<FileLock>;
}

/**
 * - "exclusive": for a process that writes. Nobody else holds a lock on the directory.
 * - "shared": for a process that only reads. Others may read too, but nobody holds the exclusive lock. Taking
 *   it changes nothing in the directory.
 */
export type LockMode = "exclusive" | "shared";

/** A lock that is held. */
export interface FileLock {
  /** Idempotent. */
  release(): Promise<void>;
}

/** An open file. Positions and sizes are in bytes. */
export interface FileHandle {
  /** The size in bytes, as it is visible. */
  size(): Promise<number>;
  /**
   * Fills `target` with the bytes from `position` on, and resolves with their number: fewer than
   * `target.length` only if the file ends there. Reads again by itself when the operating system returns a
   * part.
   */
  read(target: Uint8Array, position: number): Promise<number>;
  /**
   * Writes all of `chunks`, one after another, from `position` on. Writes again by itself when the operating
   * system takes a part. The chunks must not change until the promise settles. Durable after `dataSync`.
   */
  write(chunks: readonly Uint8Array[], position: number): Promise<void>;
  /**
   * Writes as `write` does, and makes these bytes durable, with the size if the write made the file longer.
   * Nothing else becomes durable: an earlier `write` to the file still needs `dataSync`. Meant for a file
   * that was allocated, where some systems do it in one call instead of two. After a failure, any part may be
   * written, and what is durable is not known, as after a failed `dataSync`.
   */
  writeDurably(chunks: readonly Uint8Array[], position: number): Promise<void>;
  /**
   * Makes the file at least `bytes` long, the new part filled with zeros that are really written, so that
   * later writes there change no metadata and their sync is cheap. Leaves existing bytes alone. Durable after
   * `dataSync`.
   */
  allocate(bytes: number): Promise<void>;
  /** Sets the size to `bytes`, and discards what is beyond. Durable after `dataSync`. */
  truncate(bytes: number): Promise<void>;
  /**
   * Makes all writes that have resolved, and the size, durable (`fdatasync`). After a failure, it is not
   * known which writes are durable, and a second call may succeed without having written them: never retry
   * it.
   */
  dataSync(): Promise<void>;
  /** Releases the file. It makes nothing durable. */
  close(): Promise<void>;
}

/** Byte streams between nodes. Addresses are "host:port" or "[v6]:port". */
export interface Network {
  /**
   * Accepts connections at `address`; port 0 lets the system choose. Rejects if the address is not available.
   */
  listen(address: string, accept: (connection: Connection) => void): Promise<Listener>;
  /**
   * Begins to connect, and returns at once. A failure, also of a malformed address, is reported by `onClose`.
   */
  connect(address: string): Connection;
  /**
   * The same network with TLS on every connection. Absent: this network can't do TLS.
   *
   * @throws Error the credentials can't be used, with what is wrong with them
   */
  withTls?(credentials: TlsCredentials): TlsNetwork;
}

/** What a node needs for TLS, each as PEM text. */
export interface TlsCredentials {
  /** The private key. */
  readonly key: string;
  /** The certificate for that key, then any certificates between it and the authority's. */
  readonly cert: string;
  /** The certificates of the authorities that sign the peers' certificates. No others are trusted. */
  readonly ca: string;
}

/**
 * A network whose connections use TLS 1.3, on which both ends show a certificate. An accepted connection is
 * handed over before its TLS handshake, so that its owner can limit how many there are and how long they
 * take. `onOpen` and `onData` come after the handshake, with `Connection.certificate` known: the peer's
 * certificate is valid now, signed by one of the authorities, and the peer has its private key. Which node
 * the certificate is for is not checked: that is left to the owner.
 */
export interface TlsNetwork extends Network {
  /** This end's own certificate. */
  readonly certificate: Certificate;
  /**
   * Uses these credentials for all connections from now on; those that exist stay.
   *
   * @throws Error the credentials can't be used; the network goes on with the old ones
   */
  setCredentials(credentials: TlsCredentials): void;
}

/** A certificate (X.509), as far as it says whom it is for and how long it is valid. */
export interface Certificate {
  /** The subject, a line for each part, such as "CN=db1". */
  readonly subject: string;
  /** The subject's alternative names, with their kinds as in RFC 5280, for example "URI" or "DNS". */
  readonly alternativeNames: readonly AlternativeName[];
  /** The SHA-256 of the certificate, as 32 hexadecimal numbers with colons between them. */
  readonly fingerprint256: string;
  /** From when it is valid, in milliseconds since 1970. */
  readonly validFromMs: number;
  /** Until when it is valid, in milliseconds since 1970. */
  readonly validToMs: number;
  /** The same as text, in UTC as in ISO 8601. */
  readonly validTo: string;
}

/** One alternative name of a certificate's subject. */
export interface AlternativeName {
  /** "URI", "DNS", "IP Address", "email" and others. */
  readonly type: string;
  readonly value: string;
}

/** An address at which connections are accepted. */
export interface Listener {
  /** The address in use, with the port that the system chose if port 0 was given. */
  readonly address: string;
  /** Whether programs on other machines may be able to connect: the address is not a loopback address. */
  readonly isExposed: boolean;
  /** Stops accepting. Connections that were accepted stay open. */
  close(): Promise<void>;
}

/** A byte stream to another node. Bytes arrive in order and without gaps until it closes. */
export interface Connection {
  /** The address at the other end, for logs. */
  readonly peer: string;
  /** The peer's certificate, on a connection of a `TlsNetwork` whose handshake is complete. Absent: none. */
  readonly certificate?: Certificate | undefined;
  /**
   * Why this end refused the peer before any of its bytes reached the owner: its certificate, or what it sent
   * instead of a handshake. Set when `onClose` is called. Absent: the connection closed for another reason.
   */
  readonly refusal?: string | undefined;
  /**
   * What the connection calls. Its owner sets it in the same callback in which it gets the connection, so
   * that it misses no event.
   */
  handler: ConnectionHandler | null;
  /**
   * Queues bytes. The caller must not change them any more. Does nothing on a closed connection, nor on an
   * accepted one of a `TlsNetwork` before its handshake is complete, which the first bytes show.
   */
  write(bytes: Uint8Array): void;
  /** Bytes written that the operating system has not taken yet. */
  readonly bufferedBytes: number;
  /** Stops `onData`, so that the peer's bytes wait in the operating systems' buffers. */
  pause(): void;
  /** Undoes `pause`. */
  resume(): void;
  /** Closes at once; queued bytes may be lost. `reason` is passed to `onClose`. */
  destroy(reason?: string): void;
}

/** What a connection reports to its owner. */
export interface ConnectionHandler {
  /** The connection that `connect` began is established. Not called for accepted connections. */
  onOpen?(): void;
  /**
   * Bytes arrived, split at arbitrary places. They are valid only during the call: copy what is to be kept,
   * because the buffer may be used again.
   */
  onData(bytes: Uint8Array): void;
  /** `bufferedBytes` fell to zero. */
  onDrain?(): void;
  /** The connection is closed, from either side. Called once, as the last of all. */
  onClose(reason: string): void;
}
