import { checkBytes, copyBytes } from "../../codec/copy-bytes.ts";
import type { StateMachineCodec } from "./state-machine.ts";

/**
 * A codec for commands and results that are bytes already. `apply` gets each command as a copy of its own,
 * which it may keep and change. `write` resolves with a copy of the result.
 *
 * Its methods don't use `this`, so parts of it can be combined with others: `{ ...jsonCodec<Uint8Array,
 * Answer>(), encode: bytesCodec().encode, decode: bytesCodec().decode }` takes bytes and answers with JSON.
 */
export function bytesCodec(): Required<StateMachineCodec<Uint8Array, Uint8Array>> {
  return {
    encode: (command) => bytesOf(command, "the command"),
    decode: (bytes) => copyBytes(bytes, "a stored command"),
    encodeResult: (result) => bytesOf(result, "the result"),
    decodeResult: (bytes) => bytes,
  };
}

function bytesOf(value: unknown, what: string): Uint8Array {
  checkBytes(value, what);
  return value;
}
