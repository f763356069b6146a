import path from "node:path";
import { countSessions } from "keelson";
import { inspectSnapshots, type SnapshotInspection } from "keelson/storage/snapshots";
import { count, formatBytes } from "../shared/format.ts";
import { columns } from "./terminal.ts";

const ORIGINS = { taken: "taken here", received: "from another node" } as const;
const UNFINISHED = { incoming: "being fetched", draft: "being taken, or left by a crash" } as const;

/** The snapshots beside a log; none if only the log was named. */
export async function snapshotsIn(directory: string | null): Promise<readonly SnapshotInspection[]> {
  return directory === null ? [] : await inspectSnapshots(directory);
}

/** `clusterId`: the log's, which goes without saying. */
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

/** What is wrong with them; nothing if all are sound. */
export function snapshotDamage(found: readonly SnapshotInspection[]): string[] {
  return found.flatMap(({ damage }) => (damage === null ? [] : [damage]));
}

/** For programs. */
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
