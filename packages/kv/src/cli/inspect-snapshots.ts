/** The part of `keelson inspect` about snapshots. */
import path from "node:path";
import { countSessions } from "keelson";
import { inspectSnapshots, type SnapshotInspection } from "keelson/storage/snapshots";
import { count, formatBytes } from "../shared/format.ts";
import { columns } from "./terminal.ts";

/** Where a complete snapshot came from. */
const ORIGINS = { taken: "taken here", received: "from another node" } as const;
/** Why a snapshot is incomplete. */
const UNFINISHED = { incoming: "being fetched", draft: "being taken, or left by a crash" } as const;

/** Inspects the snapshots in a directory. null: the user named only the log, so there are none to inspect. */
export async function snapshotsIn(directory: string | null): Promise<readonly SnapshotInspection[]> {
  return directory === null ? [] : await inspectSnapshots(directory);
}

/** One line for each snapshot. `clusterId`: the log's; a snapshot's own is shown only if it differs. */
export function snapshotLines(found: readonly SnapshotInspection[], clusterId: string | null): string[] {
  if (found.length === 0) return [];
  return [count(found.length, "snapshot"), ...columns(found.map((one) => cellsOf(one, clusterId)))];
}

function cellsOf(
  { file, kind, bytes, header, sessions, damage }: SnapshotInspection,
  clusterId: string | null,
) {
  const size = formatBytes(bytes);
  if (kind === "incoming" || kind === "draft") return [`  ${path.basename(file)}`, size, UNFINISHED[kind]];
  if (header === null) return [`  ${path.basename(file)}`, size, ORIGINS[kind], "DAMAGED"];
  const { position, membership } = header;
  const { voters, outgoingVoters, learners } = membership.config;
  const members = [
    `voters ${voters.join(" ")}`,
    ...(outgoingVoters.length === 0 ? [] : [`before the change ${outgoingVoters.join(" ")}`]),
    ...(learners.length === 0 ? [] : [`learners ${learners.join(" ")}`]),
    ...(header.clusterId === clusterId ? [] : [`of cluster ${header.clusterId}`]),
  ];
  return [
    `  up to entry ${position.index} of term ${position.term}`,
    size,
    ORIGINS[kind],
    members.join(", "),
    damage === null ? count(countSessions(sessions ?? new Uint8Array(0)), "session") : "DAMAGED",
  ];
}

/** What is wrong with the snapshots, one text for each damaged one. */
export function snapshotDamage(found: readonly SnapshotInspection[]): string[] {
  return found.flatMap(({ damage }) => (damage === null ? [] : [damage]));
}

/** A snapshot in the JSON output. */
export function snapshotJson({ header, sessions, damage, ...rest }: SnapshotInspection): object {
  return {
    ...rest,
    ...(header === null
      ? {}
      : {
          id: header.id,
          clusterId: header.clusterId,
          ...header.position,
          ...header.membership.config,
          sessions: sessions === null ? null : countSessions(sessions),
        }),
    damage,
  };
}
