/** The part of `keelson inspect` about snapshots. */
import path from "node:path";
import { countSessions } from "keelson";
import type { SnapshotInspection } from "keelson/storage/snapshots";
import { count, formatBytes } from "../shared/format.ts";
import { columns } from "./terminal.ts";

/** Where a complete snapshot came from. */
const ORIGINS = { taken: "taken here", received: "from another node" } as const;
/** Why a snapshot is incomplete. */
const UNFINISHED = { incoming: "being fetched", draft: "being taken, or left by a crash" } as const;

/** One line for each snapshot. `clusterId`: the log's; a snapshot's own is shown only if it differs. */
export function snapshotLines(found: readonly SnapshotInspection[], clusterId: string | null): string[] {
  if (found.length === 0) return [];
  return [count(found.length, "snapshot"), ...columns(found.map((one) => cellsOf(one, clusterId)))];
}

function cellsOf(
  { file, kind, bytes, header, sessions, damage, otherVersion }: SnapshotInspection,
  clusterId: string | null,
) {
  const size = formatBytes(bytes);
  if (kind === "incoming" || kind === "draft") return [`  ${path.basename(file)}`, size, UNFINISHED[kind]];
  if (otherVersion !== null)
    return [`  ${path.basename(file)}`, size, ORIGINS[kind], `version ${otherVersion}`];
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
    damage === null && sessions !== null ? sessionsText(sessions) : "DAMAGED",
  ];
}

function sessionsText(table: Uint8Array): string {
  const open = countSessions(table);
  return open === null ? "sessions not known" : count(open, "session");
}

/** The snapshots that are damaged, or of a version of the format that this program can't read. */
export function damagedSnapshots(found: readonly SnapshotInspection[]): readonly SnapshotInspection[] {
  return found.filter(({ damage }) => damage !== null);
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
