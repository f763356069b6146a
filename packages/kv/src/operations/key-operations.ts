/**
 * What clients do with keys and sessions, and the limits on it. HTTP (`http/key-routes.ts`) and the binary
 * protocol (`binary-server/`) call these, so both follow the same rules.
 */
import type { CallOptions, OpenedSession, SessionCommandId } from "keelson";
import { ReadAccount, readOrAbandon } from "../shared/read-account.ts";
import { delayRefusal, ReadGate, ReadTurns, type ValueAccount } from "../shared/read-gate.ts";
import { VALUE_BYTES_MAX, type KvCommand, type KvResult } from "../store/commands.ts";
import type { Listing, ListOptions } from "../store/state-machine.ts";
import type { Versioned } from "../store/state-layout.ts";
import type { KvNode, Serving } from "../node/kv-node.ts";
import { checkKey } from "./checks.ts";

/** Keys in one page of a listing, if the request names no limit. */
export const LIST_LIMIT_DEFAULT = 100;
/** The most values that are read from the database at once; LevelDB reads with four threads. */
const READS_MAX = 16;
/** The most pages of listings at once. A page is up to a thousand objects, and a megabyte of text. */
const LISTS_MAX = 2;

/** Options of a read. */
export interface ReadOptions extends CallOptions {
  readonly consistency: "linearizable" | "lease" | "stale";
}

/** Reads and writes keys. Throws what the node throws, and `BadRequestError`. */
export class KeyOperations {
  readonly #reads = new ReadGate(READS_MAX, VALUE_BYTES_MAX);
  readonly #lists = new ReadTurns(LISTS_MAX);
  readonly #onWritten: (seconds: number) => void;

  /** `onWritten`: told how long each write took that the node answered. */
  constructor(onWritten: (seconds: number) => void) {
    this.#onWritten = onWritten;
  }

  /**
   * The key's value, whose bytes the account holds. null: the key has none. "no-room": the budget for answers
   * is full; the client is told after a delay, so that it doesn't ask at once again. `turns`: those of a
   * client that may ask for many values at once, which would otherwise be read before all others' values.
   */
  async get(
    { node, store }: Serving,
    key: Uint8Array,
    account: ValueAccount,
    options: ReadOptions,
    turns: ReadTurns | null = null,
  ): Promise<Versioned | null | "no-room"> {
    checkKey(key);
    const found = await this.#read(node, account, options, turns, (held) =>
      this.#reads.readValue(held, () => store.get(key)),
    );
    if (found === "no-room") await delayRefusal();
    return found;
  }

  /**
   * A page of keys, as `encode` makes an answer of it. Few pages are made at once, so `encode` charges what
   * it allocates to the account that it is given. `turns`: as for `get`.
   */
  list<T>(
    { node, store }: Serving,
    page: ListOptions,
    account: ValueAccount,
    options: ReadOptions,
    encode: (listing: Listing, account: ValueAccount) => T,
    turns: ReadTurns | null = null,
  ): Promise<T> {
    return this.#read(node, account, options, turns, (held) =>
      this.#lists.run(async () => encode(await store.list(page), held)),
    );
  }

  #read<T>(
    node: KvNode,
    account: ValueAccount,
    options: ReadOptions,
    turns: ReadTurns | null,
    query: (account: ValueAccount) => Promise<T>,
  ): Promise<T> {
    const held = new ReadAccount(account);
    const inTurn =
      turns === null ? (): Promise<T> => query(held) : (): Promise<T> => turns.run(() => query(held));
    return readOrAbandon(held, () => node.read(inTurn, options));
  }

  /** Executes a write. `session` null: it belongs to none. */
  async write(
    { node }: Serving,
    command: KvCommand,
    session: SessionCommandId | null,
    options: CallOptions = {},
  ): Promise<KvResult> {
    checkKey(command.key);
    const begun = performance.now();
    const result = await node.write(command, session === null ? options : { ...options, session });
    this.#onWritten((performance.now() - begun) / 1000);
    return result;
  }

  /** Opens a session, in which a write that is sent more than once takes effect once. */
  openSession(
    { node }: Serving,
    ttlMs: number | undefined,
    options: CallOptions = {},
  ): Promise<OpenedSession> {
    return node.beginSession(ttlMs === undefined ? options : { ...options, ttlMs });
  }

  /** Ends a session. Succeeds too if it has ended already. */
  endSession({ node }: Serving, id: number, options: CallOptions = {}): Promise<void> {
    return node.endSession(id, options);
  }
}
