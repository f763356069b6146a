import { dueTimes } from "./due-times.ts";
import type { Model, ModelState } from "./model.ts";
import type { DoneOperation, Operation, UnknownOperation } from "./operation.ts";
import { SeenConfigurations } from "./seen-configurations.ts";
import { UnplacedOperations } from "./unplaced-operations.ts";

/** The limits of one search. */
export interface SearchLimits {
  /**
   * Calls of `model.step`, and comparisons with what was visited before (`COMPARISONS_PER_STEP`). With many
   * operations of unknown outcome, the comparisons take most of the time.
   */
  readonly stepsMax: number;
  /** Estimated bytes of the remembered configurations. */
  readonly memoryBytesMax: number;
}

export interface SearchResult {
  readonly verdict: "linearizable" | "illegal" | "undecided";
  readonly steps: number;
  /**
   * The ids of the operations in a legal order. If none was found: with `keepBest`, the partial order found
   * whose first missing return is latest; else empty.
   */
  readonly order: readonly number[];
  /** The limit that ended the search, if the verdict is `undecided`. */
  readonly limit?: keyof SearchLimits;
}

/** The operations placed so far, followed by zero or more operations of unknown outcome. */
interface Variant<State> {
  readonly state: State;
  /** The placed operations of unknown outcome, ascending. */
  readonly used: readonly number[];
  /**
   * The last placed operation of unknown outcome, and the variant it extends; null: there is none after the
   * last required operation.
   */
  readonly last: { readonly optional: number; readonly before: Variant<State> } | null;
  /** Whether an operation without effect was placed here: then no other choice has to be tried. */
  settled: boolean;
}

/** A configuration of the search: the operations placed so far, and the choices that remain to be tried. */
interface Frame<State> {
  /**
   * The first variant has no further operation of unknown outcome; each later one adds one to a variant
   * before it.
   */
  readonly variants: Variant<State>[];
  /** The variant that is being tried. */
  variantAt: number;
  /** The variants before this one have been extended by each operation of unknown outcome. */
  extendedTo: number;
  /** The required operations that may be placed next, the most promising first. */
  readonly candidates: readonly number[];
  /**
   * The place in `candidates` of the next one to try in this variant. `NOT_BEGUN`: this variant wasn't tried
   * yet.
   */
  cursor: number;
  /**
   * The required operation that is placed next, while the search is below this frame, and the variant it is
   * placed in.
   */
  placed: number;
  placedIn: Variant<State> | null;
}

const NOT_BEGUN = -1;

/** Comparisons of two sets of operations that take about as long as one step of a model. */
const COMPARISONS_PER_STEP = 8;

/**
 * Searches for an order of one key's operations that the model allows: the algorithm of Wing and Gong, with
 * Lowe's cache of visited configurations. It places one operation after another, and backtracks when none is
 * possible. `UnplacedOperations` says which may be placed next. The search succeeds when all required
 * operations, those that returned, are placed.
 *
 * Operations of unknown outcome are optional. They are placed only right before a required one, and as few as
 * possible: of two configurations that differ only in the optional operations they used, the one that used
 * fewer can continue in every way in which the other can.
 */
export class Search<State extends ModelState, Input, Output> {
  readonly #model: Model<State, Input, Output>;
  readonly #limits: SearchLimits;
  /** The operations that returned, in the order of their calls. */
  readonly #required: readonly DoneOperation<Input, Output>[];
  /** The operations of unknown outcome that may change something, in the order of their calls. */
  readonly #optional: readonly UnknownOperation<Input>[];
  readonly #optionalOverwrites: readonly boolean[];

  readonly #unplaced: UnplacedOperations;

  /**
   * For each required operation, an estimate of when it must be placed at the latest. It only decides what is
   * tried first.
   */
  readonly #dueAt: Float64Array;
  readonly #seen: SeenConfigurations;
  readonly #frames: Frame<State>[] = [];
  #steps = 0;
  #bestReturnAt = Number.NEGATIVE_INFINITY;
  #bestOrder: readonly number[] = [];
  readonly #keepBest: boolean;

  /** `keepBest`: whether to keep the best order of an illegal history, which costs time. */
  constructor(
    model: Model<State, Input, Output>,
    operations: readonly Operation<Input, Output>[],
    limits: SearchLimits,
    keepBest = false,
  ) {
    this.#model = model;
    this.#limits = limits;
    this.#keepBest = keepBest;
    this.#seen = new SeenConfigurations();
    const byCall = [...operations].sort((a, b) => a.calledAt - b.calledAt);
    this.#required = byCall.filter((operation) => operation.outcome === "done");
    this.#optional = byCall
      .filter((operation) => operation.outcome === "unknown")
      .filter(({ input }) => !model.isEffectless(input, undefined));
    this.#optionalOverwrites = this.#optional.map(({ input }) => model.overwrites(input, undefined));
    this.#unplaced = new UnplacedOperations(this.#required);
    this.#dueAt = dueTimes(model, this.#required);
  }

  run(): SearchResult {
    const { initial } = this.#model;
    this.#push(initial, []);
    for (;;) {
      if (this.#unplaced.isEmpty) return this.#result("linearizable", this.#order());
      const frame = this.#frames.at(-1);
      if (frame === undefined) return this.#result("illegal", this.#bestOrder);
      if (this.#stepsTaken > this.#limits.stepsMax) {
        return { ...this.#result("undecided", this.#bestOrder), limit: "stepsMax" };
      }
      if (this.#seen.bytes > this.#limits.memoryBytesMax) {
        return { ...this.#result("undecided", this.#bestOrder), limit: "memoryBytesMax" };
      }
      if (!this.#advance(frame)) this.#backtrack();
    }
  }

  #result(verdict: SearchResult["verdict"], order: readonly number[]): SearchResult {
    return { verdict, steps: this.#stepsTaken, order };
  }

  /** What counts towards `stepsMax`. */
  get #stepsTaken(): number {
    return this.#steps + Math.floor(this.#seen.comparisons / COMPARISONS_PER_STEP);
  }

  /** Tries the next choice of a frame. Returns false if there is none. */
  #advance(frame: Frame<State>): boolean {
    const variant = frame.variants[frame.variantAt];
    if (variant === undefined) return this.#extend(frame);
    if (frame.cursor === NOT_BEGUN) {
      frame.cursor = 0;
      if (this.#placeEffectless(frame, variant)) return true;
    }
    while (!variant.settled && frame.cursor < frame.candidates.length) {
      const call = frame.candidates[frame.cursor] ?? 0;
      frame.cursor += 1;
      if (this.#tryPlace(frame, variant, call)) return true;
    }
    frame.variantAt += 1;
    frame.cursor = NOT_BEGUN;
    return true;
  }

  /**
   * Places an operation that is possible here and changes nothing, if there is one. Then no other choice has
   * to be tried: every legal order that has it later stays legal if the operation moves here.
   */
  #placeEffectless(frame: Frame<State>, variant: Variant<State>): boolean {
    for (const call of frame.candidates) {
      const { input, output } = this.#requiredAt(call);
      if (!this.#model.isEffectless(input, output)) continue;
      const state = this.#step(variant.state, input, output);
      if (state === undefined || this.#fingerprint(state) !== this.#fingerprint(variant.state)) continue;
      variant.settled = true;
      return this.#go(frame, variant, call, state);
    }
    return false;
  }

  #tryPlace(frame: Frame<State>, variant: Variant<State>, call: number): boolean {
    const { input, output } = this.#requiredAt(call);
    // The operation overwrites the effect of the optional one before it. The variant without that one can do
    // the same, and was tried before.
    if (variant.last !== null && this.#model.overwrites(input, output)) return false;
    const state = this.#step(variant.state, input, output);
    return state !== undefined && this.#go(frame, variant, call, state);
  }

  /**
   * Places an operation, and continues from there. Returns false if that configuration was visited before.
   */
  #go(frame: Frame<State>, variant: Variant<State>, call: number, state: State): boolean {
    this.#place(frame, variant, call);
    if (this.#push(state, variant.used)) return true;
    this.#unplace(frame);
    return false;
  }

  /** Adds the variants with one more optional operation. Returns false if there are none. */
  #extend(frame: Frame<State>): boolean {
    const firstReturnAt = this.#unplaced.firstReturnAt();
    while (frame.extendedTo < frame.variants.length) {
      const before = frame.variants[frame.extendedTo];
      frame.extendedTo += 1;
      if (before === undefined || before.settled) continue;
      if (this.#extendVariant(frame, before, firstReturnAt)) return true;
    }
    return false;
  }

  #extendVariant(frame: Frame<State>, before: Variant<State>, firstReturnAt: number): boolean {
    const fingerprint = this.#fingerprint(before.state);
    const count = frame.variants.length;
    // Two operations with the same input do the same, and the one that was called first is possible wherever
    // the other is. So only the first of them that isn't used has to be tried.
    const tried = new Set<Input>();
    for (const [optional, { input, calledAt }] of this.#optional.entries()) {
      if (calledAt > firstReturnAt) break;
      if (tried.has(input) || before.used.includes(optional)) continue;
      tried.add(input);
      if (before.last !== null && this.#optionalOverwrites[optional] === true) continue;
      const state = this.#step(before.state, input, undefined);
      if (state === undefined || this.#fingerprint(state) === fingerprint) continue;
      if (!this.#isUseful(frame, state)) continue;
      const used = [...before.used, optional].sort((a, b) => a - b);
      if (!this.#remember(state, used)) continue;
      frame.variants.push({ state, used, last: { optional, before }, settled: false });
    }
    return frame.variants.length > count;
  }

  /**
   * Whether an operation that depends on the state is possible in this one. If not, the optional operation
   * that led to it is of no use.
   */
  #isUseful(frame: Frame<State>, state: State): boolean {
    if (this.#optionalOverwrites.includes(false)) return true;
    return frame.candidates.some((call) => {
      const { input, output } = this.#requiredAt(call);
      return !this.#model.overwrites(input, output) && this.#step(state, input, output) !== undefined;
    });
  }

  /** Continues from a configuration, unless one that can do at least as much was visited before. */
  #push(state: State, used: readonly number[]): boolean {
    if (!this.#remember(state, used)) return false;
    this.#frames.push({
      variants: [{ state, used, last: null, settled: false }],
      variantAt: 0,
      extendedTo: 0,
      candidates: this.#unplaced.placeable().sort((a, b) => (this.#dueAt[a] ?? 0) - (this.#dueAt[b] ?? 0)),
      cursor: NOT_BEGUN,
      placed: -1,
      placedIn: null,
    });
    if (this.#keepBest) this.#noteBest();
    return true;
  }

  #remember(state: State, used: readonly number[]): boolean {
    const { placed, firstUnplaced, placedCount } = this.#unplaced;
    return this.#seen.add(placed, firstUnplaced, placedCount, this.#fingerprint(state), used);
  }

  #backtrack(): void {
    this.#frames.pop();
    const frame = this.#frames.at(-1);
    if (frame !== undefined) this.#unplace(frame);
  }

  #place(frame: Frame<State>, variant: Variant<State>, call: number): void {
    frame.placed = call;
    frame.placedIn = variant;
    this.#unplaced.place(call);
  }

  #unplace(frame: Frame<State>): void {
    const call = frame.placed;
    frame.placed = -1;
    frame.placedIn = null;
    this.#unplaced.takeBack(call);
  }

  #noteBest(): void {
    const returnAt = this.#unplaced.firstReturnAt();
    if (returnAt <= this.#bestReturnAt) return;
    this.#bestReturnAt = returnAt;
    this.#bestOrder = this.#order();
  }

  /** The ids of the placed operations, in order. */
  #order(): number[] {
    const order: number[] = [];
    for (const { placed, placedIn } of this.#frames) {
      if (placedIn === null) continue;
      const chain: number[] = [];
      for (let variant = placedIn; variant.last !== null; variant = variant.last.before) {
        chain.push(this.#optional[variant.last.optional]?.id ?? -1);
      }
      order.push(...chain.reverse(), this.#requiredAt(placed).id);
    }
    return order;
  }

  #step(state: State, input: Input, output: Output | undefined): State | undefined {
    this.#steps += 1;
    return this.#model.step(state, input, output);
  }

  #fingerprint(state: State): string {
    return this.#model.fingerprint(state);
  }

  #requiredAt(call: number): DoneOperation<Input, Output> {
    const operation = this.#required[call];
    if (operation === undefined) throw new RangeError(`no operation at ${call}`);
    return operation;
  }
}
