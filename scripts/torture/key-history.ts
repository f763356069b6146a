import {
  checkLinearizability,
  formatHistory,
  History,
  keyValueModel,
  toSvg,
  type KeyValueInput,
  type KeyValueOutput,
  type OpenOperation,
} from "keelson/testing";

/** Calls on one key, over its whole life: few enough that the checker decides in no time. */
export const CALLS_MAX = 400;
/** Changes of unknown outcome make a history hard to decide: each may come at any time, or never. */
export const UNKNOWN_MAX = 6;
/** Calls on one key at a time. */
export const CALLS_AT_ONCE_MAX = 3;

/** An answer that cannot be right, with what a person needs to see it. */
export interface Illegal {
  readonly text: string;
  /** null: there is none to draw. */
  readonly svg: string | null;
  readonly history: string;
}

/** What a key holds for good, and the changes that might still come, since nobody knows their outcome. */
export interface LastWord {
  readonly key: string;
  value: string | null;
  /** null: not known, or no value. */
  version: number | null;
  readonly maybePut: Set<string>;
  maybeDeleted: boolean;
}

/**
 * The life of one key, from before anything was written to its last read, recorded as a history.
 *
 * Linearizability is local: a history is linearizable if and only if those of its keys are. So each
 * key is checked alone as soon as nobody uses it any more, and a run of any length needs memory for
 * the keys of the moment only. Keys are never used again, so that a change of unknown outcome cannot
 * come into another key's history.
 */
export class KeyHistory {
  readonly key: string;
  readonly #history = new History<KeyValueInput, KeyValueOutput>(() => performance.now());
  #atOnce = 0;
  #unknown = 0;
  /** The newest version that any client has learnt; null: none, or deleted. */
  version: number | null = null;

  constructor(key: string) {
    this.key = key;
  }

  get calls(): number {
    return this.#history.size;
  }

  get isBusy(): boolean {
    return this.#atOnce >= CALLS_AT_ONCE_MAX;
  }

  get isIdle(): boolean {
    return this.#atOnce === 0;
  }

  /** It has had its share of calls. */
  get isFull(): boolean {
    return this.calls >= CALLS_MAX || this.#unknown >= UNKNOWN_MAX;
  }

  /** Records a call; the caller says once what became of it. */
  invoke(client: string, input: KeyValueInput): OpenOperation<KeyValueOutput> {
    const operation = this.#history.invoke(client, input);
    this.#atOnce += 1;
    const end = (): void => {
      this.#atOnce -= 1;
    };
    return {
      id: operation.id,
      done: (output) => {
        end();
        operation.done(output);
        if (output.applied !== false) this.version = output.version ?? null;
      },
      unknown: () => {
        end();
        operation.unknown();
        this.#unknown += 1;
      },
      notDone: () => {
        end();
        operation.notDone();
      },
    };
  }

  /** Whether every answer can be right. `undecided`: the checker gave up. */
  check(): Illegal | "undecided" | null {
    const operations = this.#history.operations();
    const result = checkLinearizability(keyValueModel(), operations);
    if (result.verdict === "linearizable") return null;
    if (result.verdict === "undecided") return "undecided";
    return { text: result.text, svg: toSvg(result), history: formatHistory(operations) };
  }

  get historyLines(): string {
    return this.#history.toJsonLines();
  }

  /** After the last read: what every later read must find. */
  lastWord(last: KeyValueOutput): LastWord {
    const operations = this.#history.operations();
    // What was read has come, and comes only once.
    const seen = new Set(
      operations.map((one) =>
        one.outcome === "done" && one.input.type === "get" ? one.output.value : undefined,
      ),
    );
    const maybe = operations.filter(({ outcome }) => outcome === "unknown").map(({ input }) => input);
    return {
      key: this.key,
      value: last.value ?? null,
      version: last.version ?? null,
      maybePut: new Set(
        maybe.flatMap((input) => (input.type === "put" && !seen.has(input.value) ? [input.value] : [])),
      ),
      maybeDeleted: maybe.some(({ type }) => type === "delete"),
    };
  }
}

/** What is wrong with a later read of a key, in words; null: nothing. What it learns, it keeps in `word`. */
export function faultOfRead(
  word: LastWord,
  found: { readonly value: string; readonly version: number } | null,
): string | null {
  const had =
    word.value === null ? "nothing" : `${JSON.stringify(word.value)} at version ${String(word.version)}`;
  if (found === null) {
    if (word.value === null) return null;
    if (!word.maybeDeleted) return `key ${word.key} held ${had}, nobody deleted it, and it is gone`;
    word.value = null;
    return null;
  }
  const { value, version } = found;
  if (value === word.value && version === word.version) return null;
  const isLater = word.version === null || version > word.version;
  if (!isLater || !word.maybePut.delete(value)) {
    return `key ${word.key} held ${had}, and now ${JSON.stringify(value)} at version ${version}, which nobody can have put since`;
  }
  word.value = value;
  word.version = version;
  return null;
}
