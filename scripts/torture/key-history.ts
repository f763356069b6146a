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

/** The most calls on one key. So few that the checker decides at once. */
export const CALLS_MAX = 400;
/**
 * The most changes of unknown outcome on one key. Each may take effect at any time or never, which makes a
 * history hard to decide.
 */
export const UNKNOWN_MAX = 6;
/** The most concurrent calls on one key. */
export const CALLS_AT_ONCE_MAX = 3;

/** A wrong answer, with what a person needs to understand it. */
export interface Illegal {
  readonly text: string;
  /** null: there is no picture. */
  readonly svg: string | null;
  readonly history: string;
}

/** A key's final value, and the changes of unknown outcome that may still take effect. */
export interface FinalState {
  readonly key: string;
  value: string | null;
  /** null: unknown, or the key has no value. */
  version: number | null;
  readonly maybePut: Set<string>;
  maybeDeleted: boolean;
}

/**
 * The history of one key, from before its first write to its last read.
 *
 * Linearizability is local: a history is linearizable if and only if the history of each key is. So each key
 * is checked as soon as no client uses it any more, and a run of any length needs memory only for the keys in
 * use. A key's name is never used again, so a late change of unknown outcome can't show up in the history of
 * another key.
 */
export class KeyHistory {
  readonly key: string;
  readonly #history = new History<KeyValueInput, KeyValueOutput>(() => performance.now());
  #atOnce = 0;
  #unknown = 0;
  /** The newest version that any client has seen; null: none, or the key was deleted. */
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

  /** Whether the key has had its maximum of calls. */
  get isFull(): boolean {
    return this.calls >= CALLS_MAX || this.#unknown >= UNKNOWN_MAX;
  }

  /** Records a call. The caller reports its outcome once. */
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

  /** Checks whether the answers are linearizable. `undecided`: the checker reached a limit. */
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

  /** What every later read must return. To be called after the last read. */
  finalState(last: KeyValueOutput): FinalState {
    const operations = this.#history.operations();
    // The change that was read has taken effect, and can't take effect again.
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

/**
 * Says in words what is wrong with a later read of a key; null: nothing. Updates `state` with what the read
 * shows.
 */
export function faultOfRead(
  state: FinalState,
  found: { readonly value: string; readonly version: number } | null,
): string | null {
  const had =
    state.value === null ? "nothing" : `${JSON.stringify(state.value)} at version ${String(state.version)}`;
  if (found === null) {
    if (state.value === null) return null;
    if (!state.maybeDeleted) return `key ${state.key} held ${had}, nobody deleted it, and it is gone`;
    state.value = null;
    return null;
  }
  const { value, version } = found;
  if (value === state.value && version === state.version) return null;
  const isLater = state.version === null || version > state.version;
  if (!isLater || !state.maybePut.delete(value)) {
    return `key ${state.key} held ${had}, and now ${JSON.stringify(value)} at version ${version}, which nobody can have put since`;
  }
  state.value = value;
  state.version = version;
  return null;
}
