// How a node tells people what happened: the option `onLog`, made safe to call from anywhere.
import type { RaftOptions } from "../shared/index.ts";

/** Writes one message for people. It never throws, whatever the program's logger does. */
export type NodeLog = (
  level: "info" | "warn" | "error",
  text: string,
  fields?: Readonly<Record<string, unknown>>,
) => void;

/** The log of one node: each message carries its id. */
export function nodeLog<Command, Result>({ id, onLog }: RaftOptions<Command, Result>): NodeLog {
  return (level, text, fields) => {
    try {
      onLog?.(level, text, { id, ...fields });
    } catch {
      // A logger that throws must not stop a node, and there is no better place to report it.
    }
  };
}
