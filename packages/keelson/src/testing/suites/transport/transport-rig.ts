// What a case of the transport suite needs, and what it is.
import type { NodeId } from "../../../core/position.ts";
import type { Environment } from "../../../environment/environment.ts";
import type { Transport } from "../../../transport/transport.ts";

/** What a case needs of the transport under test. Each case gets a new rig. */
export interface TransportRig {
  /** The environment that this node's transport is made in. */
  environment(node: NodeId): Environment;
  /** A new transport for this node. When a node gets a second one, it has the address of the first. */
  transport(node: NodeId): Transport;
  /**
   * Lets time pass until the condition holds; throws if it doesn't within a limit that the rig sets (some
   * seconds).
   */
  until(condition: () => boolean, what: string): Promise<void>;
  /** Lets enough time pass for all messages in transit to arrive. */
  quiet(): Promise<void>;
  /** Throws if anything is left open after every transport was closed. */
  assertNothingLeft(): void;
}

/** One promise that a transport keeps; `run` throws if it does not. */
export interface TransportCase {
  readonly name: string;
  /** Resolves if the transport keeps the promise, and rejects with what is wrong. */
  readonly run: (rig: TransportRig) => Promise<void>;
}
