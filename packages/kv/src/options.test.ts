import { expectTypeOf, it } from "vitest";
import type { KvCallOptions, KvClientOptions, KvReadOptions, KvWriteOptions } from "./client/kv-client.ts";
import type { KvStateMachineOptions, ListOptions } from "./store/state-machine.ts";

type OptionalNames<T> = { [Name in keyof T]-?: object extends Pick<T, Name> ? Name : never }[keyof T];

/** The same names, all undefined. */
type Undefined<T> = { readonly [Name in OptionalNames<T>]: undefined };

it("each option may be undefined", () => {
  expectTypeOf<Undefined<KvClientOptions>>().toExtend<
    Pick<KvClientOptions, OptionalNames<KvClientOptions>>
  >();
  expectTypeOf<Undefined<KvCallOptions>>().toExtend<KvCallOptions>();
  expectTypeOf<Undefined<KvWriteOptions>>().toExtend<KvWriteOptions>();
  expectTypeOf<Undefined<KvReadOptions>>().toExtend<KvReadOptions>();
  expectTypeOf<Undefined<ListOptions>>().toExtend<Pick<ListOptions, OptionalNames<ListOptions>>>();
  expectTypeOf<Undefined<KvStateMachineOptions>>().toExtend<
    Pick<KvStateMachineOptions, OptionalNames<KvStateMachineOptions>>
  >();
});
