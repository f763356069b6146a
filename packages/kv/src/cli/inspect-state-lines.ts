/** The part of `keelson inspect` about the state. */
import { count, formatBytes } from "../shared/format.ts";
import type { StateInspection } from "../store/inspect-state.ts";
import { columns } from "./terminal.ts";

/** What the state holds. */
export function stateLines({ applied, isRestoring, tables, bytes, values }: StateInspection): string[] {
  const position =
    applied !== null
      ? `up to entry ${applied.index} of term ${applied.term}`
      : isRestoring
        ? "a snapshot is being restored"
        : "nothing applied";
  return [
    "state",
    ...columns([[`  ${position}`, formatBytes(bytes), count(tables, "table"), count(values, "value")]]),
  ];
}

/** What is wrong with the state, as lines. `storeId`: the log's. null: not known. */
export function stateDamages(
  { damage, directory, identity }: StateInspection,
  storeId: string | null,
): string[] {
  const isForeign = identity !== null && storeId !== null && identity.storeId !== storeId;
  const foreign = isForeign
    ? [
        "STATE OF ANOTHER NODE",
        `  ${directory} belongs to the log with store id ${identity.storeId}, of node ${identity.nodeId}. The node does not start with it.`,
      ]
    : [];
  if (damage.length === 0) return foreign;
  return [
    ...foreign,
    "DAMAGED STATE",
    ...damage.map((text) => `  ${text}`),
    "  A node that starts rebuilds it from snapshot and log if they are enough, and says what is missing if not.",
  ];
}
