/**
 * Counts what the parts of a node keep in their maps and sets. An entry that is kept for each call, message
 * or connection, and never removed, changes no answer: nothing but the memory of a process that runs for
 * weeks shows it.
 *
 * A node's parts are made in one turn (`composeNode`). For that time the global `Map` and `Set` are replaced
 * by classes that note what is made of them, so no part has to say what it keeps. What a part makes later,
 * such as a leader's progress of its followers, isn't seen.
 */

/** A map or a set that belongs to a node. */
interface Held {
  readonly collection: { readonly size: number };
  /** Where it was made, as a stack trace. */
  readonly madeAt: string;
}

/** Lines of a stack trace up to the maker: two of this class, one of the global class. */
const TRACE_LINES = 4;

/** The maps and sets of one node. */
export class HeldCollections {
  readonly #held: Held[] = [];
  /** Puts the global classes back; null: they are in place. */
  #restore: (() => void) | null = null;

  /** From now on, what is made belongs to the node. No other code may run until `end`. */
  begin(): void {
    this.end();
    const note = (collection: Held["collection"]): void => {
      this.#note(collection);
    };
    const { Map: OwnMap, Set: OwnSet } = globalThis;
    globalThis.Map = class<Key, Value> extends OwnMap<Key, Value> {
      constructor(entries?: Iterable<readonly [Key, Value]> | null) {
        super(entries);
        note(this);
      }
    };
    globalThis.Set = class<Value> extends OwnSet<Value> {
      constructor(values?: Iterable<Value> | null) {
        super(values);
        note(this);
      }
    };
    this.#restore = () => {
      globalThis.Map = OwnMap;
      globalThis.Set = OwnSet;
    };
  }

  /** The node's parts are made, or could not be. */
  end(): void {
    this.#restore?.();
    this.#restore = null;
  }

  /** What one collection holds beyond `sizeMax`; null: none holds more. */
  excess(sizeMax: number): string | null {
    const found = this.#held.find(({ collection }) => collection.size > sizeMax);
    if (found === undefined) return null;
    return `${String(found.collection.size)} entries in a collection that was made ${found.madeAt}`;
  }

  #note(collection: Held["collection"]): void {
    const before = Error.stackTraceLimit;
    Error.stackTraceLimit = TRACE_LINES;
    const { stack = "" } = new Error();
    Error.stackTraceLimit = before;
    const madeAt = stack.split("\n").slice(-1).join("").trim();
    this.#held.push({ collection, madeAt });
  }
}
