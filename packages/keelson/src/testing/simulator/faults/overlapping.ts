/**
 * Values that faults set for a time. Faults may overlap: when one of them ends, the value of another that
 * still lasts must hold, and not the value of a run without faults.
 */

/**
 * A value that any number of faults set at the same time. Of those that last, the one that began last counts.
 */
export class Overlapping<V> {
  readonly #none: V;
  /** The values of the faults that last, in the order in which they began. */
  #lasting: { readonly value: V }[] = [];

  /** `none`: the value without a fault. */
  constructor(none: V) {
    this.#none = none;
  }

  get value(): V {
    const last = this.#lasting.at(-1);
    return last === undefined ? this.#none : last.value;
  }

  /** The returned function ends it; called again, it does nothing. */
  begin(value: V): () => void {
    const begun = { value };
    this.#lasting.push(begun);
    return () => {
      this.#lasting = this.#lasting.filter((other) => other !== begun);
    };
  }

  endAll(): void {
    this.#lasting = [];
  }
}

/** Properties of one object that faults have set, by name. */
type HeldProperties = Map<string, { readonly lasting: Overlapping<unknown>; readonly write: () => void }>;

const heldProperties = new WeakMap<object, HeldProperties>();

/**
 * Sets a property that several faults may set. The returned function ends it: the property gets the value of
 * another fault that lasts, or else `none`.
 */
export function hold<K extends string, V>(
  target: { [key in K]: V },
  key: K,
  value: NoInfer<V>,
  none: NoInfer<V>,
): () => void {
  const properties = heldProperties.get(target) ?? (new Map() as HeldProperties);
  heldProperties.set(target, properties);
  const lasting = properties.get(key)?.lasting ?? new Overlapping<unknown>(none);
  const write = (): void => {
    target[key] = lasting.value as V;
  };
  properties.set(key, { lasting, write });
  const end = lasting.begin(value);
  write();
  return () => {
    end();
    write();
  };
}

/** Ends everything that faults have set on an object by `hold`. */
export function endAll(target: object): void {
  for (const { lasting, write } of heldProperties.get(target)?.values() ?? []) {
    lasting.endAll();
    write();
  }
}
