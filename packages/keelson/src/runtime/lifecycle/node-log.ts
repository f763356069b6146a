// How a node tells people what happened: the option `onLog`, made safe to call from anywhere.
import type { ComponentLog, LogComponent, LogEvent } from "../../log-event.ts";
import type { Diagnostics } from "../../environment/environment.ts";
import { DIAGNOSTICS_CHANNELS } from "./node-diagnostics.ts";
import type { RaftOptions } from "../shared/index.ts";

/**
 * The logs of a node's parts: each makes events of one component. None throws, whatever the program's logger
 * does.
 */
export type NodeLogs = (component: LogComponent) => ComponentLog;

/** The logs of one node. All of its parts, stores and transport included, log through one of these. */
export function nodeLogs<Command, Result>(
  { id, onLog }: RaftOptions<Command, Result>,
  diagnostics: Diagnostics | undefined,
): NodeLogs {
  const channel = diagnostics?.channel(DIAGNOSTICS_CHANNELS.log);
  const emit = (event: LogEvent): void => {
    if (channel?.hasSubscribers === true) channel.publish(event);
    try {
      onLog?.(event);
    } catch {
      // A logger that throws must not stop a node, and there is no better place to report it.
    }
  };
  return (component) =>
    (level, text, fields = {}) => {
      emit({ level, component, id, text, fields });
    };
}
