// What an operator can do about errors of the file system, for the stores on disk.
import { hasCode } from "./wal/file-error.ts";

/**
 * What to do about an error of the file system that says nothing about what is on the disk; "": nothing
 * special. Without it, a full disk is easily taken for damage.
 */
export function adviceFor(error: unknown): string {
  const is = (code: string): boolean => hasCode(error, code);
  if (is("ENOSPC") || is("EDQUOT")) {
    return " THE DISK IS FULL. Nothing that was acknowledged is lost: make room, and start the node again.";
  }
  if (is("EMFILE") || is("ENFILE")) {
    return " There are too many open files: raise the limit (ulimit -n), and start the node again.";
  }
  if (is("EACCES") || is("EPERM") || is("EROFS")) {
    return " The user that runs the node must be able to read and write there. This is not damage.";
  }
  return "";
}
