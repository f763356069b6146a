/** `keelson inspect`: prints what a node's directory holds, and whether it is sound. Changes nothing. */
import path from "node:path";
import { DirectoryLockedError } from "keelson";
import { decodeMembership, decodeRecord, EntryKind, type DecodedRecord } from "keelson/codec";
import { inspectSnapshots, type SnapshotInspection } from "keelson/storage/snapshots";
import { inspectWal, type MembershipEntry, type WalInspection } from "keelson/storage/wal";
import { parseCommand, positionalsOf } from "./arguments.ts";
import { decodeCommand } from "../store/commands.ts";
import { findDataDirectory } from "../node/data-directory.ts";
import { inspectState, type StateInspection } from "../store/inspect-state.ts";
import { stateDamages, stateLines } from "./inspect-state-lines.ts";
import { damagedSnapshots, snapshotJson, snapshotLines } from "./inspect-snapshots.ts";
import { count, formatBytes } from "../shared/format.ts";
import { columns } from "./terminal.ts";
import { withNotice } from "./wait-notice.ts";
import { StartError, UsageError } from "../shared/errors.ts";

/** The text for `--help`. */
export const INSPECT_HELP = `Usage: keelson inspect DIR [--entries FROM..TO] [--json]

Prints what the log of a node holds, and which state and snapshots lie beside it, checks every checksum in
them, and says what it did not read. DIR is the node's --data directory, or the log's own. Nothing is changed.
The node must not run, unless --running is given: then the state is not read.

  --entries FROM..TO   also print these entries; FROM.. is up to the last one, and FROM that one alone
  --running            read also while the node runs; what it is writing then looks like an interrupted write
  --json               print all of it as one JSON object
  --help               this text

The exit code is 0 if all is sound, and 1 if anything is damaged or cannot be read.
`;

/** The most characters of a key or value that are printed. */
const SHOWN_CHARS_MAX = 60;

/** The most earlier configurations whose entries are listed. */
const EARLIER_MAX = 20;

/** A parsed command line. */
export interface InspectOptions {
  /** The data directory, or the log in it. */
  readonly directory: string;
  /** The entries to print, `[from, to)`; `to` null: up to the last. null: none. */
  readonly entries: { readonly from: number; readonly to: number | null } | null;
  /** Read without the lock of the directory, so also while the node runs. */
  readonly running: boolean;
  /** Print JSON instead of text. */
  readonly json: boolean;
}

/** @returns null if the help was asked for */
export function parseInspectOptions(args: readonly string[]): InspectOptions | null {
  const { values, positionals } = parseCommand(args, {
    entries: { type: "string" },
    running: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  });
  if (values.help) return null;
  const [directory] = positionalsOf(positionals, "DIR");
  return {
    directory,
    entries: values.entries === undefined ? null : rangeOf(values.entries),
    running: values.running,
    json: values.json,
  };
}

function rangeOf(text: string): NonNullable<InspectOptions["entries"]> {
  const [, first = "", dots, last = ""] = /^(\d{1,15})(\.\.(\d{0,15}))?$/.exec(text)?.map(String) ?? [];
  const from = Number(first);
  const to = dots === "undefined" ? from + 1 : last === "" ? null : Number(last) + 1;
  if (from >= 1 && (to === null || to > from)) return { from, to };
  throw new UsageError(`--entries "${text}" is not FROM..TO, such as 1..20, 15.. or 7`);
}

/** Prints what the directory holds. Resolves with the exit code: 0 if all is sound, else 1. */
export async function inspect(options: InspectOptions, print: (line: string) => void): Promise<number> {
  const reading = withNotice(`reading ${options.directory}`, () => findingsIn(options));
  const findings = await reading.catch((error: unknown) => {
    if (!(error instanceof DirectoryLockedError)) throw error;
    throw new StartError(`${error.message}. To read the directory meanwhile, add --running`, {
      cause: error,
    });
  });
  const { found, state, snapshots, notRead } = findings;
  if (options.json) {
    const json = { ...jsonOf(found), state, snapshots: snapshots.map(snapshotJson), notRead };
    print(JSON.stringify(json, null, 2));
  } else for (const line of linesOf(findings)) print(line);
  return found.damage === null && damagesOf(findings).length === 0 ? 0 : 1;
}

/** What is in the log and beside it. */
interface Findings {
  readonly found: WalInspection;
  /** null: there is none, or it was not read. */
  readonly state: StateInspection | null;
  readonly snapshots: readonly SnapshotInspection[];
  /** What was not read, for people. */
  readonly notRead: readonly string[];
}

async function findingsIn(options: InspectOptions): Promise<Findings> {
  const { running } = options;
  const { log, state: stateDirectory, snapshots: directory } = findDataDirectory(options.directory);
  const found = await inspectEntries(log, options);
  const snapshots = directory === null ? [] : await inspectSnapshots(directory, { running });
  // The database of a running node changes under the reader: tables go away, and the newest writes are in
  // memory.
  const state = stateDirectory === null || running ? null : await inspectState(stateDirectory);
  const notRead = [
    ...(stateDirectory === null
      ? ["state and snapshots: only the log was named, not the data directory"]
      : []),
    ...(stateDirectory !== null && running ? ["the state: the node may be running"] : []),
    ...(state?.notRead.map((text) => `in the state, ${text}`) ?? []),
  ];
  return { found, state, snapshots, notRead };
}

/**
 * Inspects the log. For "up to the last entry" it does so twice: only the first pass knows the last index.
 */
async function inspectEntries(
  log: string,
  { entries, running }: Pick<InspectOptions, "entries" | "running">,
): Promise<WalInspection> {
  if (entries === null) return inspectWal(log, { running });
  const { from, to } = entries;
  if (to !== null) return inspectWal(log, { from, to, running });
  const { last } = await inspectWal(log, { running });
  return inspectWal(log, { from, to: Math.max(from, last.index + 1), running });
}

/** The output as text. */
function linesOf({ found, state, snapshots, notRead }: Findings): string[] {
  const { base, last, hardState, memberships, segments, records } = found;
  const facts = [
    ["log", found.directory],
    ["node", found.nodeId ?? "not known"],
    ["cluster", found.clusterId ?? "none yet"],
    ["store id", found.storeId ?? "not known"],
    [
      "term",
      `${hardState.term}, ${hardState.votedFor === null ? "no vote" : `voted for ${hardState.votedFor}`}`,
    ],
    ["begins", base.index === 0 ? "at the beginning" : `after entry ${base.index} of term ${base.term}`],
    ["ends", last.index === 0 ? "there are no entries" : `with entry ${last.index} of term ${last.term}`],
    ...Object.entries(found.entries)
      .filter(([, tally]) => tally.count > 0)
      .map(([name, tally]) => [
        name,
        `${count(tally.count, "entry", "entries")}, ${formatBytes(tally.bytes)}`,
      ]),
  ];
  const lines = columns(facts);
  const current = memberships.at(-1);
  if (current !== undefined) lines.push(...membershipLines(current));
  const earlier = memberships.slice(0, -1).map(({ index }) => String(index));
  if (earlier.length > 0)
    lines.push(`  earlier configurations: entries ${earlier.slice(-EARLIER_MAX).join(", ")}`);
  lines.push(count(segments.length, "segment"));
  const rows = segments.map(({ file, bytes, batches, entries }) => [
    `  ${path.basename(file)}`,
    formatBytes(bytes),
    count(batches, "batch", "batches"),
    entries === null ? "no entries" : `entries ${entries.first} to ${entries.last}`,
  ]);
  lines.push(...columns(rows));
  if (records.length > 0)
    lines.push("entries", ...columns(records.map((record) => entryCells(decodeRecord(record)))));
  if (state !== null) lines.push(...stateLines(state));
  lines.push(...snapshotLines(snapshots, found.clusterId));
  lines.push(...notRead.map((text) => `not read: ${text}`));
  return [...lines, ...verdict(found, damagesOf({ found, state, snapshots }), notRead.length === 0)];
}

function membershipLines({ index, term, membership }: MembershipEntry): string[] {
  const { voters, outgoingVoters, learners } = membership.config;
  const rows = [...membership.members].map(([id, { address }]) => {
    const roles = [
      ...(voters.includes(id) ? ["voter"] : []),
      ...(outgoingVoters.includes(id) ? ["voter before the change under way"] : []),
      ...(learners.includes(id) ? ["learner"] : []),
    ];
    return [`  ${id}`, address, roles.join(", ")];
  });
  const { removed = [] } = membership;
  const removedLine = removed.length === 0 ? [] : [`  removed before: ${removed.join(", ")}`];
  return [`members from entry ${index} of term ${term} on`, ...columns(rows), ...removedLine];
}

/** The damage in the state and in the snapshots, as lines. */
function damagesOf({ found, state, snapshots }: Omit<Findings, "notRead">): string[] {
  const damaged = damagedSnapshots(snapshots).flatMap(({ damage, otherVersion }) =>
    otherVersion === null
      ? [
          "DAMAGED SNAPSHOT",
          `  ${damage}. A node that starts does without it if it can, and says what is missing if not.`,
        ]
      : [
          "SNAPSHOT OF ANOTHER VERSION",
          `  ${damage}. A node of this version does not start. Run the version that wrote it.`,
        ],
  );
  return [...(state === null ? [] : stateDamages(state, found.storeId)), ...damaged];
}

/**
 * The last lines: whether all is sound, and if not, what is damaged. `beside`: the lines about state and
 * snapshots.
 */
function verdict(
  { torn, damage, last }: WalInspection,
  beside: readonly string[],
  isAllRead: boolean,
): string[] {
  if (damage !== null) {
    const { message, readableBatches, readableEntries } = damage;
    const after =
      readableBatches === 0
        ? "Nothing after the damage can be read."
        : `After the damage, ${count(readableBatches, "batch", "batches")} can be read` +
          (readableEntries === null
            ? ", without entries."
            : `, with entries from ${readableEntries.first} to ${readableEntries.last}.`);
    const log = ["DAMAGED", `  ${message}`, `  Before the damage: entries up to ${last.index}. ${after}`];
    return [...log, ...beside];
  }
  const interrupted =
    torn === null
      ? []
      : [
          `  At ${torn.file}, offset ${torn.offset}: what is left of a write that was interrupted (or of one under way, if the node runs). It was never acknowledged.`,
        ];
  if (beside.length > 0) return ["The log is sound.", ...interrupted, ...beside];
  const what = isAllRead ? "every checksum" : "every checksum that was read";
  return [`sound: ${what} is right`, ...interrupted];
}

const KIND_NAMES = new Map<number, string>(Object.entries(EntryKind).map(([name, kind]) => [kind, name]));

function entryCells({ index, term, kind, payload }: DecodedRecord): string[] {
  const what =
    kind === EntryKind.command
      ? commandText(payload)
      : kind === EntryKind.config
        ? configText(payload)
        : `${payload.length} bytes`;
  return [`  ${index}`, `term ${term}`, KIND_NAMES.get(kind) ?? String(kind), what];
}

function configText(payload: Uint8Array): string {
  const { voters, outgoingVoters, learners } = decodeMembership(payload).config;
  const before = outgoingVoters.length === 0 ? "" : `, before the change ${outgoingVoters.join(" ")}`;
  return `voters ${voters.join(" ")}${before}${learners.length === 0 ? "" : `, learners ${learners.join(" ")}`}`;
}

/** The command as text. If another program than this store wrote the log, the payload in hexadecimal. */
function commandText(payload: Uint8Array): string {
  try {
    const command = decodeCommand(payload);
    const condition = command.condition === null ? "" : ` if ${JSON.stringify(command.condition)}`;
    const value = command.type === "put" ? ` = ${shown(command.value)} (${command.value.length} bytes)` : "";
    return `${command.type} ${shown(command.key)}${value}${condition}`;
  } catch {
    return `${payload.length} bytes: ${Buffer.from(payload.subarray(0, SHOWN_CHARS_MAX / 2)).toString("hex")}`;
  }
}

/** The first `SHOWN_CHARS_MAX` bytes as a quoted string. */
function shown(bytes: Uint8Array): string {
  const text = JSON.stringify(Buffer.from(bytes.subarray(0, SHOWN_CHARS_MAX)).toString("utf8"));
  return bytes.length > SHOWN_CHARS_MAX ? `${text}...` : text;
}

/** The output as JSON, apart from the snapshots. */
function jsonOf(found: WalInspection): object {
  return {
    ...found,
    memberships: found.memberships.map(({ index, term, membership }) => ({
      index,
      term,
      ...membership.config,
      removed: membership.removed ?? [],
      addresses: Object.fromEntries([...membership.members].map(([id, { address }]) => [id, address])),
    })),
    records: found.records.map((record) => {
      const { index, term, kind, payload } = decodeRecord(record);
      return {
        index,
        term,
        kind: KIND_NAMES.get(kind) ?? kind,
        payload: Buffer.from(payload).toString("base64"),
      };
    }),
  };
}
