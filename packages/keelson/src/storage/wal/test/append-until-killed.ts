// A program that opens a log and appends entries, one after another, until it is killed. It prints the index
// of each one that the log has acknowledged, or the code of the error. Arguments: a directory.

import { encodeRecord, EntryKind } from "../../../codec/record.ts";
import { nodeEnvironment } from "../../../environment/node/node-environment.ts";
import { wal } from "../wal-log.ts";

const [, , directory = ""] = process.argv;
const log = wal(directory);
try {
  const { lastIndex } = await log.open({ nodeId: "a", clusterId: "c" }, nodeEnvironment());
  await log.append({ hardState: { term: 1, votedFor: "a" }, truncateFrom: null, records: [] });
  for (let index = lastIndex + 1; ; index++) {
    const record = encodeRecord(index, 1, EntryKind.command, new Uint8Array(8));
    await log.append({ hardState: null, truncateFrom: null, records: [record] });
    process.stdout.write(`${String(index)}\n`);
  }
} catch (error) {
  process.stdout.write(`${(error as { code: string }).code}: ${(error as Error).message}\n`);
}
