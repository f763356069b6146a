import { decodeMembership, type Membership } from "../../codec/config.ts";
import { concatBytes } from "../../codec/copy-bytes.ts";
import type { LogPosition } from "../../core/position.ts";
import type { Environment, FileSystem } from "../../environment/environment.ts";
import { nodeEnvironment } from "#node-environment";
import { CorruptSnapshotError, StorageFailedError, textOfThrown } from "../../errors.ts";
import { whileShared } from "../lock-store.ts";
import { BlockType, readBlocks, readHeader, type SnapshotFile } from "./format.ts";
import { fileKind, parseSnapshotName, type SnapshotFileKind } from "./file-names.ts";

/** One file in a directory of snapshots, and whether it's damaged. */
export interface SnapshotInspection {
  readonly file: string;
  /**
   * - `taken`: a complete snapshot that this node took.
   * - `received`: a complete snapshot that another node sent.
   * - `incoming`: a snapshot that is being received, or that a restarted node can go on receiving.
   * - `draft`: a snapshot that is being taken, or that a crash left incomplete.
   *
   * Of the last two, only the size is read.
   */
  readonly kind: SnapshotFileKind;
  /** The size of the file. */
  readonly bytes: number;
  /** null: it can't be read, or was not read. */
  readonly header: {
    readonly id: string;
    readonly clusterId: string;
    readonly position: LogPosition;
    /** The membership in force at `position`. */
    readonly membership: Membership;
  } | null;
  /** The encoded session table; `countSessions` reads it. null: it can't be read, or was not read. */
  readonly sessions: Uint8Array | null;
  /** The size of the state alone; if the file is damaged, as far as it could be read. */
  readonly stateBytes: number;
  /** What is wrong with the file, for people; null: every check passed, or none was made. */
  readonly damage: string | null;
  /**
   * The version of the format that the file says it has, if this program can't read it. `damage` is not null
   * then, but the file may be intact.
   */
  readonly otherVersion: number | null;
}

/** Options of `inspectSnapshots`. */
export interface InspectSnapshotsOptions {
  /**
   * Whether to read without the directory's lock, which a running node holds. Files that the node removes
   * meanwhile are left out. Default: false.
   */
  readonly running?: boolean | undefined;
  /** Default: Node's. */
  readonly environment?: Environment | undefined;
}

/**
 * Reads all snapshots in a directory and checks every checksum, but changes nothing. Sorted by name, so the
 * newest complete snapshot comes last. A directory that doesn't exist has none.
 *
 * @throws DirectoryLockedError a node runs, and `running` isn't given; StorageFailedError it can't be read
 */
export async function inspectSnapshots(
  directory: string,
  { running = false, environment = nodeEnvironment() }: InspectSnapshotsOptions = {},
): Promise<SnapshotInspection[]> {
  const { files } = environment;
  const inspect = (): Promise<SnapshotInspection[]> => inspectFiles(files, directory);
  return running ? await inspect() : await whileShared(files, directory, inspect);
}

async function inspectFiles(files: FileSystem, directory: string): Promise<SnapshotInspection[]> {
  const found: SnapshotInspection[] = [];
  try {
    for (const name of [...(await namesIn(files, directory))].sort()) {
      const kind = fileKind(name);
      if (kind === null) continue;
      const inspection = await inspectFile(files, `${directory}/${name}`, name, kind);
      if (inspection !== null) found.push(inspection);
    }
  } catch (cause) {
    const reason = textOfThrown(cause);
    throw new StorageFailedError(`the snapshots in ${directory} could not be read: ${reason}`, "not-done", {
      cause,
    });
  }
  return found;
}

async function namesIn(files: FileSystem, directory: string): Promise<readonly string[]> {
  try {
    return await files.list(directory);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

/** Inspects one file. null: it was removed meanwhile, because the running node has a newer snapshot. */
async function inspectFile(
  files: FileSystem,
  path: string,
  name: string,
  kind: SnapshotFileKind,
): Promise<SnapshotInspection | null> {
  try {
    const handle = await files.open(path, "read");
    try {
      const file = { handle, path, bytes: await handle.size() };
      const nothing = { header: null, sessions: null, stateBytes: 0, damage: null, otherVersion: null };
      const contents = kind === "taken" || kind === "received" ? await contentsOf(file, name) : nothing;
      return { file: path, kind, bytes: file.bytes, ...contents };
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

/** Reads and checks a complete snapshot, up to the first damage. */
async function contentsOf(
  file: SnapshotFile,
  name: string,
): Promise<Pick<SnapshotInspection, "header" | "sessions" | "stateBytes" | "damage" | "otherVersion">> {
  let header: SnapshotInspection["header"] = null;
  let stateBytes = 0;
  const sessions: Uint8Array[] = [];
  try {
    const { membership, ...rest } = (await readHeader(file)).header;
    header = { ...rest, membership: decodeMembership(membership) };
    const { id, index, term } = parseSnapshotName(name);
    if (id !== rest.id || index !== rest.position.index || term !== rest.position.term) {
      throw new CorruptSnapshotError(file.path, 0, `the snapshot ${file.path} has the name of another`);
    }
    for await (const { type, payload } of readBlocks(file)) {
      if (type === BlockType.sessions) sessions.push(payload);
      else stateBytes += payload.length;
    }
    return {
      header,
      sessions: concatBytes(sessions),
      stateBytes,
      damage: null,
      otherVersion: null,
    };
  } catch (error) {
    if (!(error instanceof CorruptSnapshotError)) throw error;
    const { message: damage, otherVersion } = error;
    return { header, sessions: null, stateBytes, damage, otherVersion };
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}
