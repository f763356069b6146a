/**
 * `target` with some of its methods replaced. Works for objects of classes too, whose methods a spread leaves
 * out.
 */
export function override<T extends object>(target: T, methods: Partial<T>): T {
  return new Proxy(target, {
    get(object, name): unknown {
      if (name in methods) return Reflect.get(methods, name);
      const value: unknown = Reflect.get(object, name, object);
      return typeof value === "function" ? (value.bind(object) as unknown) : value;
    },
  });
}
