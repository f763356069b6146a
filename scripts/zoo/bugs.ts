import type { SourcePatch } from "../lib/patched-modules.ts";
import { changesOf, type Bug } from "./bug.ts";
import { CHAIN_BUGS } from "./chain-bugs.ts";
import { CHANGE_BUGS } from "./change-bugs.ts";
import { CORE_BUGS } from "./core-bugs.ts";
import { EXTREME_BUGS } from "./extreme-bugs.ts";
import { DUTY_BUGS } from "./duty-bugs.ts";
import { FORWARDING_BUGS } from "./forwarding-bugs.ts";
import { INSTALLATION_BUGS } from "./installation-bugs.ts";
import { INTERRUPTION_BUGS } from "./interruption-bugs.ts";
import { KV_BUGS } from "./kv-bugs.ts";
import { LIMIT_BUGS } from "./limit-bugs.ts";
import { MEMBERSHIP_BUGS } from "./membership-bugs.ts";
import { MEMORY_BUGS } from "./memory-bugs.ts";
import { PEER_BUGS } from "./peer-bugs.ts";
import { QUESTION_BUGS } from "./question-bugs.ts";
import { REST_BUGS } from "./rest-bugs.ts";
import { RESUMPTION_BUGS } from "./resumption-bugs.ts";
import { RUNTIME_BUGS } from "./runtime-bugs.ts";
import { SEAM_BUGS } from "./seam-bugs.ts";
import { SNAPSHOT_BUGS } from "./snapshot-bugs.ts";
import { STORAGE_BUGS } from "./storage-bugs.ts";
import { TIME_BUGS } from "./time-bugs.ts";

/** All bugs, ordered by the letters of their code, then by its number. */
export const BUGS: readonly Bug[] = [
  ...CORE_BUGS,
  ...RUNTIME_BUGS,
  ...FORWARDING_BUGS,
  ...MEMBERSHIP_BUGS,
  ...CHANGE_BUGS,
  ...EXTREME_BUGS,
  ...SNAPSHOT_BUGS,
  ...STORAGE_BUGS,
  ...KV_BUGS,
  ...SEAM_BUGS,
  ...REST_BUGS,
  ...QUESTION_BUGS,
  ...DUTY_BUGS,
  ...CHAIN_BUGS,
  ...MEMORY_BUGS,
  ...LIMIT_BUGS,
  ...PEER_BUGS,
  ...INSTALLATION_BUGS,
  ...INTERRUPTION_BUGS,
  ...TIME_BUGS,
  ...RESUMPTION_BUGS,
].sort((a, b) => a.code.localeCompare(b.code, "en", { numeric: true }));

/** A bug as the patch that the module loader applies. */
export function patchOf(bug: Bug): SourcePatch {
  return { name: bug.code, changes: changesOf(bug) };
}
