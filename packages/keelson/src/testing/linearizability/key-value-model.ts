import type { Model } from "./model.ts";

/** Operations on a key-value store. */
export type KeyValueInput =
  | { readonly type: "get"; readonly key: string }
  | {
      readonly type: "put";
      readonly key: string;
      readonly value: string;
      /** Put only if the key has this version. null: only if the key does not exist. */
      readonly ifVersion?: number | null;
    }
  | { readonly type: "delete"; readonly key: string; readonly ifVersion?: number }
  | {
      /** Puts `to` (null: deletes) if the value is `from` (null: if the key does not exist). */
      readonly type: "compare-and-set";
      readonly key: string;
      readonly from: string | null;
      readonly to: string | null;
    };

/** What a key-value store returned. A field that is left out isn't checked, except for `applied`. */
export interface KeyValueOutput {
  /** After a get: the value; null: the key does not exist. */
  readonly value?: string | null;
  /** After a get: the value's version. After a change: the version that it gave the key. */
  readonly version?: number;
  /** After a change: false if its condition didn't hold, so that nothing changed. Default: true. */
  readonly applied?: boolean;
  /** After a delete: whether the key existed. */
  readonly existed?: boolean;
}

/** What is known of one key. */
export interface KeyValueState {
  readonly value: string | null;
  /**
   * null: not known, because the change had an unknown outcome or returned no version. The first operation
   * that sees the version fixes it.
   */
  readonly version: number | null;
  /** The greatest version of this key so far: later versions must be greater. */
  readonly versionFloor: number;
  /**
   * While the version is null: versions above the floor that it can't be, ascending, because a change on the
   * condition of that version was refused.
   */
  readonly versionsExcluded: readonly number[];
}

/**
 * A key-value store with get, put, delete and compare-and-set; each key is checked on its own. Versions are
 * checked where outputs contain them: each change must give its key a version greater than all before. So a
 * counter that restarts after a delete doesn't pass, and the index of a log entry does.
 */
export function keyValueModel(): Model<KeyValueState, KeyValueInput, KeyValueOutput> {
  return {
    initial: { value: null, version: null, versionFloor: Number.NEGATIVE_INFINITY, versionsExcluded: [] },
    keyOf: (input) => input.key,
    step: (state, input, output) =>
      input.type === "get" ? stepGet(state, output) : stepChange(state, input, output),
    fingerprint: ({ value, version, versionFloor, versionsExcluded }) =>
      `${String(version)} ${versionFloor} ${versionsExcluded.join()} ${value === null ? "" : `=${value}`}`,
    isEffectless: (input, output) => input.type === "get" || output?.applied === false,
    overwrites: (input, output) =>
      (input.type === "put" || input.type === "delete") &&
      input.ifVersion === undefined &&
      output?.applied !== false &&
      output?.existed === undefined,
    describe,
    describeOutput,
    expected,
  };
}

type Change = Exclude<KeyValueInput, { type: "get" }>;

function stepGet(state: KeyValueState, output: KeyValueOutput | undefined): KeyValueState | undefined {
  if (output === undefined) return state;
  if (output.value !== undefined && output.value !== state.value) return undefined;
  if (output.version === undefined) return state;
  return state.value === null ? undefined : settleVersion(state, output.version);
}

/** The state with `version` as its known version; undefined if the state can't have this version. */
function settleVersion(state: KeyValueState, version: number): KeyValueState | undefined {
  if (state.version !== null) return state.version === version ? state : undefined;
  if (version <= state.versionFloor || state.versionsExcluded.includes(version)) return undefined;
  return { value: state.value, version, versionFloor: version, versionsExcluded: [] };
}

function stepChange(
  state: KeyValueState,
  input: Change,
  output: KeyValueOutput | undefined,
): KeyValueState | undefined {
  const before = output?.applied === false ? refused(state, input) : allowed(state, input);
  // The condition doesn't hold. If the outcome is unknown, the change was refused, and nothing changed.
  if (before === undefined) return output === undefined ? state : undefined;
  if (output?.applied === false) return before;
  if (output?.existed !== undefined && output.existed !== (state.value !== null)) return undefined;
  const value = newValue(input);
  const version = output?.version;
  const changed = { value, versionsExcluded: [] };
  if (version === undefined) return { ...changed, version: null, versionFloor: before.versionFloor };
  return version > before.versionFloor ? { ...changed, version, versionFloor: version } : undefined;
}

function newValue(input: Change): string | null {
  if (input.type === "put") return input.value;
  return input.type === "delete" ? null : input.to;
}

/** The state if the change's condition can hold in it, with the version that this implies. */
function allowed(state: KeyValueState, input: Change): KeyValueState | undefined {
  if (input.type === "compare-and-set") return state.value === input.from ? state : undefined;
  if (input.ifVersion === undefined) return state;
  if (input.ifVersion === null) return state.value === null ? state : undefined;
  return state.value === null ? undefined : settleVersion(state, input.ifVersion);
}

/** The state if the change's condition can fail in it, with what that implies for the version. */
function refused(state: KeyValueState, input: Change): KeyValueState | undefined {
  if (input.type === "compare-and-set") return state.value === input.from ? undefined : state;
  if (input.ifVersion === undefined) return undefined;
  if (input.ifVersion === null) return state.value === null ? undefined : state;
  if (state.value === null) return state;
  if (state.version !== null) return state.version === input.ifVersion ? undefined : state;
  return excludeVersion(state, input.ifVersion);
}

/** The state, whose version isn't known, with the knowledge that its version is not this one. */
function excludeVersion(state: KeyValueState, version: number): KeyValueState {
  if (version <= state.versionFloor || state.versionsExcluded.includes(version)) return state;
  return { ...state, versionsExcluded: [...state.versionsExcluded, version].sort((a, b) => a - b) };
}

function describe(input: KeyValueInput): string {
  switch (input.type) {
    case "get":
      return `get ${input.key}`;
    case "put":
      return `put ${input.key} ${quote(input.value)}${condition(input.ifVersion)}`;
    case "delete":
      return `delete ${input.key}${condition(input.ifVersion)}`;
    case "compare-and-set":
      return `compare-and-set ${input.key} ${quote(input.from)} to ${quote(input.to)}`;
  }
}

function condition(ifVersion: number | null | undefined): string {
  if (ifVersion === undefined) return "";
  return ifVersion === null ? " if absent" : ` if version ${ifVersion}`;
}

function describeOutput(input: KeyValueInput, output: KeyValueOutput): string {
  const version = output.version === undefined ? "" : ` at version ${output.version}`;
  if (input.type === "get")
    return `${output.value === undefined ? "something" : quote(output.value)}${version}`;
  if (output.applied === false) return "refused";
  return `done${existed(output.existed)}${version}`;
}

function existed(flag: boolean | undefined): string {
  if (flag === undefined) return "";
  return flag ? " (it existed)" : " (it did not exist)";
}

function expected(state: KeyValueState, input: KeyValueInput): string {
  if (input.type === "get") {
    const version = state.version === null || state.value === null ? "" : ` at version ${state.version}`;
    return `${quote(state.value)}${version}`;
  }
  if (allowed(state, input) === undefined) return "refused";
  const later = Number.isFinite(state.versionFloor) ? ` at a version after ${state.versionFloor}` : "";
  return `done${input.type === "delete" ? existed(state.value !== null) : ""}${later}`;
}

function quote(value: string | null): string {
  return value === null ? "nothing" : JSON.stringify(value);
}
