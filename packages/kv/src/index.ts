/** A replicated key-value store on Keelson: its client, and its state machine as an example to build on. */
export {
  KvClient,
  KvClientError,
  type KvBytes,
  type KvCallOptions,
  type KvClientOptions,
  type KvDeleteResult,
  type KvOutcome,
  type KvPutResult,
  type KvReadOptions,
  type KvValue,
  type KvWriteOptions,
} from "./client.ts";
export {
  KEY_BYTES_MAX,
  VALUE_BYTES_MAX,
  commandCodec,
  type Condition,
  type DeleteCommand,
  type KvCommand,
  type KvResult,
  type PutCommand,
} from "./commands.ts";
export { DatabaseOpenError, type Database, type DatabaseOperation } from "./database.ts";
export { openDatabase } from "./level-database.ts";
export {
  KvStateMachine,
  type KvStateMachineOptions,
  type Listing,
  type ListOptions,
  type Versioned,
} from "./state-machine.ts";
