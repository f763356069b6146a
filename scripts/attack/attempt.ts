import type { Issued } from "../../packages/kv/src/test/certificates.ts";

/** One attempt: what is sent, how, and what may come back. */
export interface Attempt {
  readonly name: string;
  readonly port: "http" | "line" | "raft";
  readonly connection: Connection;
  readonly bytes: string;
  /** Whether the answer is a refusal. It never is if it holds the canary. */
  readonly isRefusal: (answer: string) => boolean;
}

/** How to connect. `clear`: without TLS. */
export interface Connection {
  readonly name: string;
  readonly type: "clear" | "tls";
  readonly pair?: Issued;
}
