import { KvClient, KvClientError } from "keelson-kv";
import type { KeyValueInput, KeyValueOutput, OpenOperation } from "keelson/testing";

import { Chance } from "../lib/chance.ts";
import { KeyHistory, faultOfRead, type Illegal, type FinalState } from "./key-history.ts";
import type { WriteGaps } from "./write-gaps.ts";

/** How many keys are in use at a time. */
const KEYS = 24;
/** The most complete keys whose last read is still missing. Beyond that, clients wait. */
const RETIRING_MAX = 96;
/**
 * The most keys that are remembered and read again until the end of the run. Beyond that, the oldest are
 * dropped.
 */
const REMEMBERED_MAX = 200_000;
/** The time limit of a call, so that a paused node doesn't block its client for long. */
const CALL_MS_MAX = 3000;
/** The longest pause of a client between two calls. It keeps the load low enough for the servers. */
const PAUSE_MS_MAX = 40;
/** The pause between two attempts at a key's last read. */
const LAST_READ_PAUSE_MS = 250;
/** How long a read that must succeed is repeated. Faults end, and overlap for far less time than this. */
const LAST_READ_MS_MAX = 180_000;

export type Kind = "get" | "put" | "put if" | "delete" | "delete if" | "read again";
export type CallOutcome = "done" | "refused" | "not done" | "unknown";

export interface WorkloadOptions {
  /** All HTTP addresses that nodes may ever have. */
  readonly places: readonly string[];
  /** The addresses that have a node at the moment. */
  readonly nodes: () => readonly string[];
  readonly clients: number;
  readonly seed: number;
  readonly writeGaps: WriteGaps;
  /** Called at most once for each violation. */
  readonly onIllegal: (illegal: Illegal) => void;
  /**
   * Called once for each key that is no longer used, whether its history is linearizable or not, when no call
   * on it is pending.
   */
  readonly onHistory: (keyHistory: KeyHistory) => void;
  /**
   * Called if the workload itself fails: by a bug of it, or because no node answers a read that must succeed.
   */
  readonly onFailure: (text: string) => void;
}

/** Clients that call random nodes and have every answer checked. */
export class Workload {
  readonly #options: WorkloadOptions;
  readonly #keyHistories: KeyHistory[] = [];
  readonly #retiring = new Set<Promise<void>>();
  readonly #remembered = new Map<string, FinalState>();
  /**
   * The keys that are being read again. Each has one reader at a time, because overlapping reads couldn't be
   * compared.
   */
  readonly #reading = new Set<FinalState>();
  readonly #counts = new Map<string, number>();
  readonly #running: Promise<void>[] = [];
  #keysBegun = 0;
  #valuesPut = 0;
  #isEnding = false;
  checked = 0;
  undecided = 0;
  forgotten = 0;

  constructor(options: WorkloadOptions) {
    this.#options = options;
    for (let slot = 0; slot < KEYS; slot++) this.#keyHistories.push(this.#newKeyHistory());
    for (let number = 1; number <= options.clients; number++) {
      this.#running.push(
        this.#client(number).catch((error: unknown) => {
          options.onFailure(
            `client ${number}: ${error instanceof Error ? String(error.stack) : String(error)}`,
          );
        }),
      );
    }
  }

  get remembered(): ReadonlyMap<string, FinalState> {
    return this.#remembered;
  }

  /** The number of calls, by kind and outcome. */
  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  countOf(kind: Kind, outcome: CallOutcome): number {
    return this.#counts.get(`${kind}: ${outcome}`) ?? 0;
  }

  /** Waits for the pending calls, and checks every remaining key. */
  async end(): Promise<void> {
    this.#isEnding = true;
    await Promise.all(this.#running);
    for (const keyHistory of this.#keyHistories.splice(0)) this.#retire(keyHistory);
    await Promise.all(this.#retiring);
  }

  /** Reads every remembered key once more, each at the next node. Every read must succeed. */
  async readAllAgain(): Promise<void> {
    const states = [...this.#remembered.values()];
    const readers = this.#options.nodes().map(async (node) => {
      const client = new KvClient({ nodes: [node], timeoutMs: CALL_MS_MAX });
      for (let state = states.pop(); state !== undefined; state = states.pop()) {
        const { key } = state;
        const found = await this.#lastRead(() => [client, "at the end"], key);
        if (found !== undefined) this.#hold(state, found);
      }
    });
    await Promise.all(readers);
  }

  async #client(number: number): Promise<void> {
    const { places, seed, clients } = this.#options;
    const chance = new Chance(seed, 1000 + number);
    const name = `client ${number}`;
    // This client finds the leader by itself. Each client begins at another node.
    const turned = places.map((_, at) => places[(at + number) % places.length] ?? "");
    const writer = new KvClient({ nodes: turned, timeoutMs: CALL_MS_MAX });
    // These clients ask one node each, whether it leads or not.
    const readers = new Map(
      places.map((node) => [node, new KvClient({ nodes: [node], timeoutMs: CALL_MS_MAX })]),
    );
    const reader = (): KvClient => readers.get(chance.pick(this.#options.nodes())) ?? writer;
    // The clients don't all start at once.
    await pause((PAUSE_MS_MAX * number) / clients);
    while (!this.#isEnding) {
      if (this.#retiring.size < RETIRING_MAX) await this.#call(name, writer, reader, chance);
      await pause(chance.next() * PAUSE_MS_MAX);
    }
  }

  async #call(name: string, writer: KvClient, reader: () => KvClient, chance: Chance): Promise<void> {
    if (chance.often(0.05)) return this.#readAgain(reader(), chance);
    const keyHistory = this.#keyHistoryFor(chance);
    if (keyHistory === null) return;
    const { key, version } = keyHistory;
    if (chance.often(0.45)) {
      const operation = keyHistory.invoke(name, { type: "get", key });
      await this.#settle("get", operation, () => readOutput(reader(), key));
      return;
    }
    const isConditional = chance.often(0.4);
    if (chance.often(0.2) && (!isConditional || version !== null)) {
      const condition = isConditional && version !== null ? { ifVersion: version } : {};
      const operation = keyHistory.invoke(name, { type: "delete", key, ...condition });
      await this.#settle(isConditional ? "delete if" : "delete", operation, async () => {
        const { existed } = await writer.delete(key, condition);
        return { existed };
      });
      return;
    }
    const value = `${name} ${++this.#valuesPut}`;
    const input: KeyValueInput = {
      type: "put",
      key,
      value,
      ...(isConditional ? { ifVersion: version } : {}),
    };
    const operation = keyHistory.invoke(name, input);
    await this.#settle(isConditional ? "put if" : "put", operation, async () => {
      const condition = version === null ? { ifAbsent: true } : { ifVersion: version };
      const put = await writer.put(key, value, isConditional ? condition : {});
      return { version: put.version };
    });
  }

  /** Makes the call, and records its outcome. */
  async #settle(
    kind: Kind,
    operation: OpenOperation<KeyValueOutput>,
    call: () => Promise<KeyValueOutput>,
  ): Promise<void> {
    try {
      const output = await call();
      operation.done(output);
      this.#count(kind, "done");
      if (kind !== "get") this.#options.writeGaps.wrote();
    } catch (error) {
      if (!(error instanceof KvClientError)) throw error;
      if (error.code === "CONDITION_FAILED") {
        operation.done({ applied: false });
        this.#count(kind, "refused");
      } else if (error.outcome === "unknown" && kind !== "get") {
        operation.unknown();
        this.#count(kind, "unknown");
      } else if (error.outcome === "done") {
        throw new Error(`an error that says that a ${kind} was done: ${error.message}`, { cause: error });
      } else {
        // A read without an answer had no effect.
        operation.notDone();
        this.#count(kind, "not done");
      }
    }
  }

  /** A key that may get another call. Complete keys are replaced by new ones first. */
  #keyHistoryFor(chance: Chance): KeyHistory | null {
    const slot = chance.between(0, this.#keyHistories.length);
    const keyHistory = this.#keyHistories[slot];
    if (keyHistory === undefined || keyHistory.isBusy) return null;
    if (!keyHistory.isFull) return keyHistory;
    this.#retire(keyHistory);
    return (this.#keyHistories[slot] = this.#newKeyHistory());
  }

  #newKeyHistory(): KeyHistory {
    this.#keysBegun += 1;
    return new KeyHistory(`torture/${String(this.#keysBegun).padStart(7, "0")}`);
  }

  #retire(keyHistory: KeyHistory): void {
    const retiring = this.#close(keyHistory)
      .catch((error: unknown) => {
        this.#options.onFailure(
          `key ${keyHistory.key}: ${error instanceof Error ? String(error.stack) : String(error)}`,
        );
      })
      .finally(() => this.#retiring.delete(retiring));
    this.#retiring.add(retiring);
  }

  /** Reads a key for the last time, checks its history, and remembers its final value. */
  async #close(keyHistory: KeyHistory): Promise<void> {
    while (!keyHistory.isIdle) await pause(LAST_READ_PAUSE_MS);
    let turn = keyHistory.calls;
    let open: OpenOperation<KeyValueOutput> | undefined;
    const found = await this.#lastRead(() => {
      open?.notDone();
      open = keyHistory.invoke("the last reader", { type: "get", key: keyHistory.key });
      const nodes = this.#options.nodes();
      const node = nodes[turn++ % nodes.length] ?? "";
      return [new KvClient({ nodes: [node], timeoutMs: CALL_MS_MAX }), "to close it"];
    }, keyHistory.key);
    if (found === undefined) {
      this.#options.onHistory(keyHistory);
      return;
    }
    const output = found === null ? { value: null } : found;
    open?.done(output);
    this.#options.onHistory(keyHistory);
    const verdict = keyHistory.check();
    this.checked += 1;
    if (verdict === "undecided") this.undecided += 1;
    else if (verdict !== null) this.#options.onIllegal(verdict);
    this.#remember(keyHistory.finalState(output));
  }

  /** Reads until a node answers. undefined: no node did, which is reported. */
  async #lastRead(
    next: () => readonly [KvClient, why: string],
    key: string,
  ): Promise<{ value: string; version: number } | null | undefined> {
    const deadline = performance.now() + LAST_READ_MS_MAX;
    for (;;) {
      const [client, why] = next();
      try {
        const found = await client.get(key);
        return found === null ? null : { value: text(found.value), version: found.version };
      } catch (error) {
        if (!(error instanceof KvClientError)) throw error;
        if (performance.now() > deadline) {
          this.#options.onFailure(
            `key ${key} was read ${why}, and for ${LAST_READ_MS_MAX / 1000} s nobody would answer: ${error.message}`,
          );
          return undefined;
        }
        await pause(LAST_READ_PAUSE_MS);
      }
    }
  }

  #remember(state: FinalState): void {
    this.#remembered.set(state.key, state);
    if (this.#remembered.size <= REMEMBERED_MAX) return;
    const [oldest] = this.#remembered.keys();
    if (oldest !== undefined) this.#remembered.delete(oldest);
    this.forgotten += 1;
  }

  /** Reads a key whose history is complete: it must not have changed since. */
  async #readAgain(reader: KvClient, chance: Chance): Promise<void> {
    if (this.#remembered.size === 0) return;
    const state = [...this.#remembered.values()][chance.between(0, this.#remembered.size)];
    if (state === undefined || this.#reading.has(state)) return;
    this.#reading.add(state);
    try {
      const found = await reader.get(state.key);
      this.#count("read again", "done");
      this.#hold(state, found === null ? null : { value: text(found.value), version: found.version });
    } catch (error) {
      if (!(error instanceof KvClientError)) throw error;
      this.#count("read again", "not done");
    } finally {
      this.#reading.delete(state);
    }
  }

  #hold(state: FinalState, found: { readonly value: string; readonly version: number } | null): void {
    const before = JSON.stringify({ ...state, maybePut: [...state.maybePut] });
    const fault = faultOfRead(state, found);
    if (fault !== null)
      this.#options.onIllegal({ text: fault, svg: null, history: `${before}\n${JSON.stringify(found)}\n` });
  }

  #count(kind: Kind, outcome: CallOutcome): void {
    const name = `${kind}: ${outcome}`;
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
  }
}

async function readOutput(reader: KvClient, key: string): Promise<KeyValueOutput> {
  const found = await reader.get(key);
  return found === null ? { value: null } : { value: text(found.value), version: found.version };
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("utf8");
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
