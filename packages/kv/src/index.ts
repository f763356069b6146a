/** A replicated key-value store on Keelson: its client, and its state machine as an example to build on. */
export { KvClientError, type KvOutcome } from "./client/client-error.ts";
export {
  KvClient,
  type KvBytes,
  type KvCallOptions,
  type KvClientOptions,
  type KvReadOptions,
  type KvWriteOptions,
} from "./client/kv-client.ts";
export type {
  KvDeleteResult,
  KvPutResult,
  KvValue,
  ReadConsistency as KvReadConsistency,
} from "./client/node-call.ts";
export type { NodeProtocol as KvNodeProtocol } from "./client/node-transport.ts";
export type { ClientTls as KvClientTls } from "./client/sender.ts";
export {
  KEY_BYTES_MAX,
  VALUE_BYTES_MAX,
  commandCodec,
  type Applied,
  type Condition,
  type ConditionFailed,
  type DeleteCommand,
  type KvCommand,
  type KvResult,
  type PutCommand,
} from "./store/commands.ts";
export {
  DatabaseCorruption,
  DatabaseDamagedError,
  DatabaseOpenError,
  type Database,
  type DatabaseOperation,
} from "./store/database.ts";
export { openDatabase } from "./store/level-database.ts";
export { StateDamagedError, type Versioned } from "./store/state-layout.ts";
export {
  KvStateMachine,
  ringBatchesFor,
  type KvStateMachineOptions,
  type ListedKey,
  type Listing,
  type ListOptions,
  type StateRecovery,
} from "./store/state-machine.ts";
