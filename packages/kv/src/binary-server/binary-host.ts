/** What a binary connection needs of its server, and the limits on it. */
import type { Socket } from "node:net";
import type { Access } from "../access/access.ts";
import type { Serving } from "../node/kv-node.ts";
import type { KeyOperations } from "../operations/key-operations.ts";
import type { ServerBudgets } from "../shared/memory-budget.ts";
import type { CallSlots } from "./call-slots.ts";
import type { TurnQueue } from "./turn-queue.ts";

/** Limits of a connection. */
export interface BinaryLimits {
  /** The most calls in progress. With as many, nothing more is read from the connection. Default 4096. */
  readonly callsMax: number;
  /**
   * The most calls in progress on all connections together, apart from a few that each may have. Default
   * 8192.
   */
  readonly allCallsMax: number;
  /**
   * Bytes of answers that the client hasn't taken, beyond which nothing more is read from the connection.
   * Default 1 MiB.
   */
  readonly unsentBytesMax: number;
  /** Milliseconds in which the client must send its opening and its hello. Default 10,000. */
  readonly helloMsMax: number;
  /** Milliseconds in which it must send the rest of a frame. Default 30,000. */
  readonly frameMsMax: number;
  /** Milliseconds in which it must take the next part (256 KiB) of its answers. Default 30,000. */
  readonly answerPartMsMax: number;
  /** Milliseconds without a byte from the client and without a call in progress. Default 5 minutes. */
  readonly idleMsMax: number;
}

/** What the server needs. */
export interface BinaryServerParts {
  readonly access: Access;
  readonly operations: KeyOperations;
  readonly budgets: ServerBudgets;
  /** Counts an answer. `status`: HTTP's for the same. */
  readonly onAnswered: (operation: string, status: number) => void;
  /** Called with each error that is a bug of this program. */
  readonly onInternalError: (error: unknown) => void;
  /** A connection has a call in progress or an unsent answer (false), or neither (true). */
  readonly onIdle: (socket: Socket, isIdle: boolean) => void;
  readonly limits?: Partial<BinaryLimits>;
}

/** What a connection needs of its server. */
export interface BinaryHost extends BinaryServerParts {
  readonly limits: BinaryLimits;
  readonly turns: TurnQueue;
  readonly slots: CallSlots;
  /** null: the node isn't open, or closing. */
  readonly serving: Serving | null;
}
