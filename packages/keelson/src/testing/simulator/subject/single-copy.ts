/**
 * A sequential model made of a state machine: one copy of it, to which the commands of a history are given
 * one after another. So the user need not write the model a second time.
 *
 * The checker tries orders, and goes back to an earlier state when one fails. A state machine can't go back,
 * so this file keeps a tree of states: each knows the command that led to it. To continue from a state that
 * no copy is in, a new copy is given all commands on the way to it. Each step is executed once; its result is
 * kept.
 */
import {
  isPromiseLike,
  jsonCodec,
  rejectionOf,
  StateMachineFailure,
  textOfRejection,
  type StateMachine,
  type StateMachineCodec,
} from "../../../runtime/shared/index.ts";
import type { Rejection } from "../../../errors.ts";
import type { Model } from "../../linearizability/index.ts";

/** A call of a client, as the single copy executes it. */
export type CopyCall<Machine> =
  /** `bytes`: the command as the codec encodes it; `text`: the same, readable. */
  | { readonly type: "command"; readonly bytes: Uint8Array; readonly text: string }
  | { readonly type: "query"; readonly name: string; readonly run: (machine: Machine) => unknown };

/** A state that the single copy may be in: the tree's nodes. */
interface CopyState {
  /** The state before the command that led to it; null: it is the empty state. */
  readonly parent: CopyState | null;
  /** That command, encoded. */
  readonly command: Uint8Array;
  /** How many commands led to it. */
  readonly depth: number;
  /** Equal for two states that no call can tell apart. */
  readonly fingerprint: string;
  /** By the command's text: what it answers, and the state after it. */
  readonly steps: Map<string, { readonly state: CopyState; readonly answer: string }>;
  /** By the query's name: what it answers. */
  readonly answers: Map<string, string>;
}

/** A live copy, and the state that it is in. */
interface LiveCopy<Machine> {
  readonly machine: Machine;
  state: CopyState;
}

/** How many copies are kept, each in another state. The checker mostly goes on from one of the last few. */
const COPIES_MAX = 8;

/** What the single copy is made of. */
export interface SingleCopyParts<Machine> {
  readonly make: () => Machine;
  /** null: two states count as different if other commands led to them. That's right, and slower. */
  readonly digest: ((machine: Machine) => string) | null;
}

type AnyMachine = StateMachine<unknown, unknown>;
type AnyCodec = StateMachineCodec<unknown, unknown>;

/** See the file's header. */
export class SingleCopy<Machine extends AnyMachine> {
  readonly #parts: SingleCopyParts<Machine>;
  /** The copies, the one that was used last at the end. At most `COPIES_MAX`. */
  readonly #copies: LiveCopy<Machine>[] = [];
  /** By fingerprint, so that states which nothing tells apart share what was executed from them. */
  readonly #states = new Map<string, CopyState>();
  readonly #root: CopyState;

  constructor(parts: SingleCopyParts<Machine>) {
    this.#parts = parts;
    const machine = this.#open();
    this.#root = this.#stateOf(machine, null, new Uint8Array(0));
    this.#copies.push({ machine, state: this.#root });
  }

  /**
   * The model that a history is checked with. All calls concern one key, as a command may change anything.
   */
  model(): Model<CopyState, CopyCall<Machine>, string> {
    return {
      initial: this.#root,
      keyOf: () => "state",
      step: (state, call, answer) => {
        if (call.type === "query") {
          return answer === undefined || answer === this.#ask(state, call) ? state : undefined;
        }
        const step = this.#apply(state, call);
        return answer === undefined || answer === step.answer ? step.state : undefined;
      },
      fingerprint: ({ fingerprint }) => fingerprint,
      isEffectless: ({ type }) => type === "query",
      overwrites: () => false,
      describe: (call) => (call.type === "query" ? call.name : call.text),
      describeOutput: (_call, answer) => answer,
      expected: (state, call) =>
        call.type === "query" ? this.#ask(state, call) : this.#apply(state, call).answer,
    };
  }

  #ask(state: CopyState, { name, run }: Extract<CopyCall<Machine>, { type: "query" }>): string {
    const known = state.answers.get(name);
    if (known !== undefined) return known;
    const answer = textOf(synchronous(run(this.#copyAt(state).machine), "a query"));
    state.answers.set(name, answer);
    return answer;
  }

  #apply(state: CopyState, { bytes, text }: Extract<CopyCall<Machine>, { type: "command" }>) {
    const known = state.steps.get(text);
    if (known !== undefined) return known;
    const copy = this.#copyAt(state);
    const answer = answerOf(copy.machine, bytes, state.depth + 1);
    copy.state = this.#stateOf(copy.machine, state, bytes);
    const step = { state: copy.state, answer };
    state.steps.set(text, step);
    return step;
  }

  /** A copy in this state: one that is there, or a new one. It is last in the list. */
  #copyAt(state: CopyState): LiveCopy<Machine> {
    const at = this.#copies.findLastIndex((copy) => copy.state === state);
    const [copy = this.#replay(state)] = at === -1 ? [] : this.#copies.splice(at, 1);
    this.#copies.push(copy);
    if (this.#copies.length > COPIES_MAX) this.#copies.shift();
    return copy;
  }

  #replay(state: CopyState): LiveCopy<Machine> {
    const commands: Uint8Array[] = [];
    for (let at = state; at.parent !== null; at = at.parent) commands.push(at.command);
    const machine = this.#open();
    let depth = 0;
    for (const command of commands.reverse()) answerOf(machine, command, ++depth);
    return { machine, state };
  }

  #stateOf(machine: Machine, parent: CopyState | null, command: Uint8Array): CopyState {
    const fingerprint = this.#parts.digest?.(machine) ?? String(this.#states.size);
    const known = this.#states.get(fingerprint);
    if (known !== undefined) return known;
    const depth = (parent?.depth ?? -1) + 1;
    const state = { parent, command, depth, fingerprint, steps: new Map(), answers: new Map() };
    this.#states.set(fingerprint, state);
    return state;
  }

  #open(): Machine {
    const machine = this.#parts.make();
    const identity = { nodeId: "single-copy", clusterId: null, storeId: "single-copy" };
    const host = { progress: () => undefined, watch: <T>(_what: string, call: () => Promise<T>) => call() };
    synchronous(machine.open?.(identity, host), "`open`");
    return machine;
  }
}

/** What a client is told after this command: the result as text, or what was thrown. */
function answerOf(machine: AnyMachine, command: Uint8Array, index: number): string {
  const codec = codecOf(machine);
  let result: unknown;
  try {
    // A command may keep a view of its bytes, and change other commands by it.
    const decoded = codec.decode(command.slice());
    result = synchronous(machine.apply(decoded, { term: 1, index, logTimeMs: 0 }), "`apply`");
  } catch (error) {
    if (error instanceof StateMachineFailure || error instanceof NotSynchronous) throw error;
    return textOfAnswer(rejectionOf(error));
  }
  try {
    const bytes = codec.encodeResult?.(result).slice();
    const decoded = bytes === undefined ? undefined : codec.decodeResult?.(bytes);
    return textOfResult(codec, codec.decodeResult === undefined ? result : decoded);
  } catch {
    return NO_RESULT;
  }
}

export function codecOf(machine: AnyMachine): AnyCodec {
  return machine.codec ?? jsonCodec();
}

/** The answer to a command that took effect, and whose result the codec can't encode. */
const NO_RESULT = "a result that can't be encoded";

/** What a client got instead of a result, as text. `rejection` undefined: the codec couldn't encode it. */
export function textOfAnswer(rejection: Rejection | undefined): string {
  return rejection === undefined ? NO_RESULT : `rejected: ${textOfRejection(rejection)}`;
}

/** A result as text; equal for results that the codec doesn't tell apart. */
export function textOfResult(codec: AnyCodec, result: unknown): string {
  return codec.encodeResult === undefined ? textOf(result) : textOfBytes(codec.encodeResult(result));
}

/** Bytes as text, readable where they are a text. */
export function textOfBytes(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return Buffer.from(bytes).toString("hex");
  }
}

/** What a query returned, as JSON. Throws, with the place, if it holds what JSON can't: a Map, a Date. */
export function textOf(value: unknown): string {
  return value === undefined ? "undefined" : textOfBytes(JSON_CODEC.encodeResult(value));
}

const JSON_CODEC = jsonCodec<unknown, unknown>();

/** A state machine is asynchronous where the model needs it synchronous. */
class NotSynchronous extends Error {}

/** The value, if it is no promise. */
export function synchronous<T>(value: T | PromiseLike<T>, what: string): T {
  if (!isPromiseLike(value)) return value;
  // Nobody waits for it, so its rejection is nobody's business.
  value.then(undefined, () => undefined);
  throw new NotSynchronous(
    `${what} returned a promise, and the checker of histories can't wait: subjectOf needs a state machine in ` +
      "memory whose `open`, `apply` and queries are synchronous. For another one, write a subject with a model",
  );
}
